/** For measurements: serves the names and attributes of a host directory, as read at start, on the raw floor. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  Attr,
  AttrOut,
  EBADF,
  ENOENT,
  EntryOut,
  type FileSystem,
  FUSE_ROOT_ID,
  NO_REPLY,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'

interface Inode {
  readonly nodeid: number
  readonly attributes: Int32Array
  readonly names: Map<string, Inode>
}

/** Node ids are indexes in a list; nothing is ever forgotten. */
class MemoryFileSystem implements FileSystem {
  private readonly inodes: (Inode | undefined)[] = [undefined]

  constructor(directory: string) {
    this.load(directory)
  }

  init(): void {}
  destroy(): void {}

  lookup = (request: Request): number => {
    const parent = this.inodes[request.nodeid]
    const found = parent?.names.get(request.name() ?? '')
    if (parent === undefined) return -EBADF
    if (found === undefined) return -ENOENT
    EntryOut.writeHead(request.replyWords, 0, found.nodeid, 0, 0, 0)
    Attr.write(request.replyWords, EntryOut.ATTR_AT >> 2, found.attributes, 0)
    return EntryOut.BYTES
  }

  getattr = (request: Request): number => {
    const inode = this.inodes[request.nodeid]
    if (inode === undefined) return -EBADF
    AttrOut.writeHead(request.replyWords, 0, 0)
    Attr.write(request.replyWords, AttrOut.ATTR_AT >> 2, inode.attributes, 0)
    return AttrOut.BYTES
  }

  forget = (): number => NO_REPLY
  batchForget = (): number => NO_REPLY

  private load(path: string): Inode {
    const { mode, size } = statSync(path)
    const attributes = new Int32Array(Statx.WORDS)
    attributes[Statx.MODE] = mode
    attributes[Statx.NLINK] = 1
    attributes[Statx.SIZE] = size
    attributes[Statx.INO] = this.inodes.length
    const inode: Inode = { nodeid: this.inodes.length, attributes, names: new Map() }
    this.inodes.push(inode)
    if (inode.nodeid === FUSE_ROOT_ID || statSync(path).isDirectory())
      for (const name of readdirSync(path)) inode.names.set(name, this.load(join(path, name)))
    return inode
  }
}

export default (_options: object, { sharedDir = '.' }: { sharedDir?: string }): FileSystem =>
  new MemoryFileSystem(sharedDir)
