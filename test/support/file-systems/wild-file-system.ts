/** A file system in which each file fails in its own way, chosen by its name. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Attributes, directory, type FileTree, type FsNode, file } from 'virtio-fs-ts'

const never = new Promise<never>(() => {})
const throwing = (error: unknown) => () => {
  throw error
}
const withCode = (code: unknown) => Object.assign(new Error('meant'), { code })
const stat = (attributes: object): FsNode => ({ stat: () => attributes as Attributes })
const reading = (read: () => unknown): FsNode => ({ stat: () => ({ size: 100 }), read: read as never })

let aborted = 0
const root = {} as FsNode
const shared = directory({})

const children: Record<string, unknown> = {
  good: file('good\n'),
  'throws-a-string': { stat: throwing('just text') },
  'throws-null': { stat: throwing(null) },
  'throws-an-error': { stat: throwing(new Error('a bug in stat')) },
  'throws-with-a-cause': {
    stat: throwing(new Error('no answer', { cause: new Error('no server', { cause: 'off' }) })),
  },
  'throws-eacces': { stat: throwing(withCode('EACCES')) },
  'throws-no-errno': { stat: throwing(withCode('toString')) },
  'throws-a-number': { stat: throwing(withCode(13)) },
  'rejects-enospc': { stat: async () => throwing(withCode('ENOSPC'))() },
  'rejects-undefined': { stat: () => Promise.reject(undefined) },
  'then-throws': {
    stat: () => ({
      // biome-ignore lint/suspicious/noThenProperty: that is what this one does
      then: throwing(new Error('a bug in then')),
    }),
  },
  'negative-size': stat({ size: -1 }),
  'fractional-size': stat({ size: 1.5 }),
  'huge-size': stat({ size: 2 ** 60 }),
  'text-size': stat({ size: '12' }),
  'no-attributes': { stat: () => undefined },
  'wrong-type': stat({ type: 'folder' }),
  'wrong-mode': stat({ mode: 2 ** 20 }),
  'wrong-date': stat({ mtime: 'yesterday' }),
  'invalid-date': stat({ mtime: new Date(Number.NaN) }),
  'wrong-timeout': stat({ attrTimeoutSec: Number.POSITIVE_INFINITY }),
  'a-string': 'not a node',
  'a-number': 7,
  root,
  'never-stats': { stat: () => never },
  'never-reads': {
    stat: () => ({ size: 100 }),
    read: (_position: number, _length: number, { signal }: { signal: AbortSignal }) => {
      signal.addEventListener('abort', () => aborted++)
      return never
    },
  },
  'reads-text': reading(() => 'text'),
  'reads-nothing': reading(() => undefined),
  'reads-too-much': reading(() => new Uint8Array(1 << 20)),
  'reads-late': reading(async () => {
    await sleep(50)
    return Buffer.from('late')
  }),
  'writes-too-much': { stat: () => ({}), write: () => 1 << 30 },
  'writes-text': { stat: () => ({}), write: () => 'all' },
  'opens-oddly': { stat: () => ({}), open: () => ({ directIo: 'yes' }) },
  'opens-a-number': { stat: () => ({}), open: () => 3 },
  'opens-direct': { ...file('direct\n'), open: () => ({ directIo: true, parallelDio: true, handle: 'h' }) },
  'links-nowhere': { stat: () => ({ type: 'symlink' }), readlink: () => '' },
  'links-to-nul': { stat: () => ({ type: 'symlink' }), readlink: () => 'a\0b' },
  'links-to-number': { stat: () => ({ type: 'symlink' }), readlink: () => 7 },
  'lists-slash': { lookup: () => undefined, readdir: () => ['a/b'] },
  'lists-nul': { lookup: () => undefined, readdir: () => ['a\0b'] },
  'lists-dots': { lookup: () => undefined, readdir: () => ['..'] },
  'lists-empty': { lookup: () => undefined, readdir: () => [''] },
  'lists-long': { lookup: () => undefined, readdir: () => ['x'.repeat(256)] },
  'lists-numbers': { lookup: () => undefined, readdir: () => [1, 2] },
  'lists-a-number': { lookup: () => undefined, readdir: () => 5 },
  'lists-and-misses': {
    lookup: (name: string) => {
      if (name === 'bad') throw new Error('a bug in lookup')
      return name === 'gone' ? undefined : file(name)
    },
    readdir: () => ['one', 'bad', 'gone', 'two'],
  },
  'makes-old': { lookup: () => undefined, readdir: () => [], mkdir: () => shared },
  'makes-nothing': { lookup: () => undefined, readdir: () => [], mkdir: () => undefined, create: () => null },
  shared,
  // What nobody waits for may return a promise all the same.
  'forgets-badly': { stat: () => ({}), forget: () => Promise.reject(new Error('a bug in forget')) },
  'throws-nothing': { stat: throwing(Object.create(null)) },
  'removes-never': { lookup: () => undefined, readdir: () => [], unlink: () => never },
  aborted: { stat: () => ({ size: aborted }) },
}

Object.assign(root, {
  lookup: (name: string) => (children[name] as FsNode | undefined) ?? undefined,
  readdir: () => Object.keys(children),
  getxattr: () => 'text',
  listxattr: () => ['', 7],
})

export default (): FileTree => ({
  root,
  statfs: () => ({ blocks: -1 }),
  mounted: throwing(new Error('a bug in mounted')),
})
