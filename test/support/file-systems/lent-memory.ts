/**
 * The memory example, whose directories also have what a test has put into the shared directory on the host: a copy of
 * each file when it is first looked up.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Context, FileTree, FsNode } from 'virtio-fs-ts'
import { example } from './served-module.js'

type Made = FsNode & Required<Pick<FsNode, 'create' | 'mkdir' | 'lookup' | 'readdir' | 'write'>>

export default async (_options: object, { sharedDir }: { sharedDir: string }): Promise<FileTree> => {
  const { default: makeMemory } = await import(example('memory'))
  const tree = makeMemory() as FileTree & { root: Made }
  const paths = new WeakMap<object, string>([[tree.root, sharedDir]])
  const lent = new Set<string>()
  // Every directory of the example has this prototype.
  const prototype = Object.getPrototypeOf(tree.root) as Made
  const { lookup, readdir } = prototype

  const lend = (parent: Made, name: string) => {
    const directory = paths.get(parent)
    const path = directory === undefined ? '' : join(directory, name)
    // A name that the guest has removed does not come back.
    if (directory === undefined || lent.has(path) || !existsSync(path)) return
    lent.add(path)
    const { mode, uid, gid } = lstatSync(path)
    const caller = { uid, gid, pid: 0, signal: AbortSignal.timeout(1) } satisfies Context
    if (lstatSync(path).isDirectory()) {
      paths.set(parent.mkdir(name, { mode: mode & 0o7777 }, caller) as object, path)
    } else {
      const file = parent.create(name, { mode: mode & 0o7777 }, caller) as Made
      file.write(0, readFileSync(path), { ...caller, handle: undefined })
    }
  }
  prototype.lookup = function (this: Made, name, context) {
    if (lookup.call(this, name, context) === undefined) lend(this, name)
    return lookup.call(this, name, context)
  }
  prototype.readdir = function (this: Made, context) {
    const path = paths.get(this)
    if (path !== undefined) for (const name of readdirSync(path)) this.lookup(name, context)
    return readdir.call(this, context)
  }
  return tree
}
