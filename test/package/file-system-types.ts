/**
 * Code of a user of virtio-fs-ts, right and wrong, compiled against the packed package. Its types must refuse the wrong
 * one.
 */

import * as promises from 'node:fs/promises'
import { readFile } from 'node:fs/promises'
import {
  type Attributes,
  type Context,
  directory,
  type FileTree,
  type FsNode,
  file,
  fromPromises,
  type ServedFileSystem,
  serveFileSystem,
} from 'virtio-fs-ts'
import { ARGS, Attr, type FileSystem, OpenIn, type Request } from 'virtio-fs-ts/protocol'

class Remote implements FsNode {
  async stat(): Promise<Attributes> {
    return { type: 'file', size: 5n, mtime: new Date(), attrTimeoutSec: 1 }
  }
  async read(position: number, length: number, { signal }: Context): Promise<Uint8Array> {
    return (await readFile('/etc/hostname', { signal })).subarray(position, position + length)
  }
  write(): void {}
  open(flags: number) {
    return { handle: flags, directIo: true }
  }
}

export function use(signal: AbortSignal): ServedFileSystem {
  const root = directory({ a: file('a'), b: new Remote() })
  const served = serveFileSystem({ root }, { socketPath: '/tmp/s', tag: 't', cache: 'never', signal })
  served.on('mount', ({ minor, flags }) => minor + Number(flags))
  served.on('unmount', () => served.close())
  serveFileSystem(fromPromises(promises, '/srv'), { socketPath: '/tmp/p', readOnly: true })
  return served
}

export const raw: FileSystem = {
  init: ({ guestMinor }) => void guestMinor,
  destroy() {},
  open: (request: Request) => -OpenIn.flags(request.args, ARGS) || Attr.BYTES,
}

export const lists: FsNode = {
  readdir: () => ['a', { name: 'b', type: 'directory' }],
  lookup: () => undefined,
}
// @ts-expect-error: a tree has a root
export const rootless: FileTree = {}
// @ts-expect-error: contents are bytes
export const text: FsNode = { read: () => 'text' }
// @ts-expect-error: a type is one of a few
export const typed: FsNode = { stat: () => ({ type: 'folder' }) }
// @ts-expect-error: a socket has a path
serveFileSystem({ root: {} }, {})
// @ts-expect-error: not every file is an entry
export type Inside = typeof import('virtio-fs-ts/session')
