/** The memory example behind promises: each method answers on a later turn of Node's loop, or after `delayMs`. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FileTree, FsNode } from 'virtio-fs-ts'
import { example } from './served-module.js'

const METHODS = new Set<PropertyKey>([
  ...[
    'stat',
    'setattr',
    'lookup',
    'readdir',
    'create',
    'mkdir',
    'mknod',
    'symlink',
    'link',
    'unlink',
    'rmdir',
  ],
  ...['rename', 'readlink', 'read', 'write', 'getxattr', 'listxattr', 'setxattr', 'removexattr'],
])

/** The outer objects of nodes, and the nodes of outer objects. */
const outside = new WeakMap<object, object>()
const inside = new WeakMap<object, object>()

const isNode = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && typeof (value as FsNode).stat === 'function'

function wrap(node: object, delayMs: number): object {
  const known = outside.get(node)
  if (known !== undefined) return known
  const proxy = new Proxy(node, {
    get(target, name) {
      const method = Reflect.get(target, name)
      if (!METHODS.has(name) || typeof method !== 'function') return method
      return async (...args: unknown[]) => {
        if (delayMs > 0) await sleep(delayMs)
        const own = args.map((arg) => (isNode(arg) ? (inside.get(arg) ?? arg) : arg))
        const result = method.apply(target, own)
        if (name === 'stat') return result
        if (isNode(result)) return wrap(result, delayMs)
        if (name !== 'readdir') return result
        return result.map((entry: { name: string; node: object }) => ({
          name: entry.name,
          node: wrap(entry.node, delayMs),
        }))
      }
    },
  })
  outside.set(node, proxy)
  inside.set(proxy, node)
  return proxy
}

export default async ({ delayMs = 0 }: { delayMs?: number }): Promise<FileTree> => {
  const { default: makeMemory } = await import(example('memory'))
  const memory = makeMemory() as FileTree
  return { ...memory, root: wrap(memory.root, delayMs) as FsNode }
}
