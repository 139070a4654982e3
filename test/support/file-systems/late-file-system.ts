/**
 * A file system whose methods settle when they are told to: once the guest has looked up 'let-go'. The sizes of 'opened',
 * 'released' and 'forgotten' are how often that happened.
 */
import type { FileTree, FsNode, Opened } from 'virtio-fs-ts'

const counts = { opened: 0, released: 0, forgotten: 0 }
let waiting: (() => void)[] = []
/** The value, later. */
const late = <T>(value: T) => new Promise<T>((resolve) => waiting.push(() => resolve(value)))

const handles = new Set<number>()
const open = (): Opened => {
  handles.add(++counts.opened)
  return { handle: counts.opened }
}
const release: FsNode['release'] = ({ handle }) => {
  // Released once, and with the handle of its open.
  if (!handles.delete(handle as number)) throw new Error(`nobody has opened ${String(handle)}`)
  counts.released++
}
const forget = () => {
  counts.forgotten++
}

const node = (more: FsNode = {}): FsNode => ({ stat: () => ({}), forget, ...more })
const lateFolder = (): FsNode => ({
  ...node({ lookup: () => undefined, readdir: () => [], release }),
  open: () => late(undefined).then(open),
  create: () => late(node({ open, release })),
  mkdir: () => late(node({ readdir: () => [] })),
  mknod: () => late(node()),
  symlink: () => late(node({ readlink: () => 'x' })),
  link: () => late(undefined),
})

const children: Readonly<Record<string, () => FsNode | Promise<FsNode>>> = {
  'opens-late': () => node({ open: () => late(undefined).then(open), release }),
  'opens-at-once': () => node({ open, release }),
  'opens-oddly': () => node({ open: () => ({ ...open(), directIo: 'yes' as never }), release }),
  'found-late': () => late(node()),
  'stats-late': () => node({ stat: () => late({}) }),
  'stats-badly': () => node({ stat: () => ({ size: -1 }) }),
  'stats-badly-later': () => node({ stat: () => Promise.reject(new Error('on purpose')) }),
  folder: lateFolder,
  'lists-late': () => node({ lookup: () => undefined, readdir: () => late([{ name: 'a', node: node() }]) }),
  'creates-badly': () =>
    node({
      lookup: () => undefined,
      readdir: () => [],
      create: () => node({ open: () => Promise.reject(new Error('on purpose')) }),
    }),
  'creates-oddly': () =>
    node({
      lookup: () => undefined,
      readdir: () => [],
      create: () => node({ open: () => ({ ...open(), keepCache: 1 as never }), release }),
    }),
}

/** Counts stay out of what they count. */
const counter = (name: keyof typeof counts): FsNode => ({ stat: () => ({ size: counts[name] }) })

const root: FsNode = {
  lookup(name) {
    if (name in counts) return counter(name as keyof typeof counts)
    if (name === 'let-go') {
      const all = waiting
      waiting = []
      for (const settle of all) settle()
      return undefined
    }
    return children[name]?.()
  },
  readdir: () => [],
}

export default (): FileTree => ({ root })
