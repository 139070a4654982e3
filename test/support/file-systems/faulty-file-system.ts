/**
 * A file system in which the name looked up last says which method goes wrong, and how: 'METHOD FAULT'. Every other name is
 * one of a node without faults.
 */
import type { FileTree, FsNode } from 'virtio-fs-ts'

const fail = (error: unknown) => () => {
  throw error
}
const withCode = () => Object.assign(new Error('meant'), { code: 'ENOSPC' })

/** What a faulty method does. */
export const faults: Readonly<Record<string, () => unknown>> = {
  'throws an error': fail(new Error('a bug')),
  'throws a code': fail(withCode()),
  'throws text': fail('text'),
  'throws undefined': fail(undefined),
  'rejects an error': () => Promise.reject(new Error('a bug')),
  'rejects a code': () => Promise.reject(withCode()),
  'rejects undefined': () => Promise.reject(undefined),
  'never settles': () => new Promise(() => {}),
  // biome-ignore lint/suspicious/noThenProperty: that is the fault
  'has a bad then': () => ({ then: fail(new Error('a bug in then')) }),
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  number: () => 3,
  negative: () => -1,
  fraction: () => 0.5,
  NaN: () => Number.NaN,
  bigint: () => 3n,
  text: () => 'text',
  symbol: () => Symbol('symbol'),
  function: () => () => {},
  object: () => ({}),
  array: () => [],
  bytes: () => new Uint8Array(3),
  'odd proxy': () => new Proxy({}, { get: fail(new Error('a bug in get')) }),
  'later text': async () => 'text',
  'later undefined': async () => undefined,
}

let method = ''
let fault = ''

/** The method itself, or the fault in its place. */
function faulty<T extends object>(methods: T): T {
  return new Proxy(methods, {
    get(target, name) {
      const own = Reflect.get(target, name)
      if (name !== method || typeof own !== 'function') return own
      return faults[fault]
    },
  })
}

const never = () => {}
const leaf = (): FsNode => ({ stat: () => ({ size: 10, type: 'file' }), readlink: () => 'target' })

const node = (): FsNode =>
  faulty<FsNode>({
    stat: () => ({ size: 10, type: method === 'readlink' ? 'symlink' : isFolder() ? 'directory' : 'file' }),
    setattr: never,
    lookup: leaf,
    readdir: () => ['a'],
    create: leaf,
    mkdir: leaf,
    mknod: leaf,
    symlink: leaf,
    link: never,
    unlink: never,
    rmdir: never,
    rename: never,
    readlink: () => 'target',
    open: () => ({}),
    release: never,
    read: () => new Uint8Array(3),
    write: never,
    flush: never,
    fsync: never,
    fallocate: never,
    seek: (position) => position,
    getxattr: () => new Uint8Array(3),
    listxattr: () => ['user.a'],
    setxattr: never,
    removexattr: never,
    forget: never,
  })

const ofFolders = [
  'lookup',
  'readdir',
  'create',
  'mkdir',
  'mknod',
  'symlink',
  'link',
  'unlink',
  'rmdir',
  'rename',
]
const isFolder = () => ofFolders.includes(method)

const root: FsNode = {
  lookup(name) {
    const [wanted = '', ...how] = name.split(' ')
    method = wanted
    fault = how.join(' ')
    return node()
  },
  readdir: () => [],
  // The root decides that this file system has extended attributes.
  getxattr: () => undefined,
}

export default (): FileTree =>
  faulty<FileTree>({ root, statfs: () => ({}), sync: never, mounted: never, unmounted: never })
