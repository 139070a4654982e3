import { FUSE_ROOT_ID } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { InodeTable } from './inode-table.js'
import { terminated } from './open-below.js'

const PATH_MAX_BYTES = 4096
const SLASH = 0x2f
const NOTHING = new Uint8Array(0)
/** The kernel adds this to the path of a file without a name. A name may end like this, too. */
const LOST = new TextEncoder().encode(' (deleted)')

/** Present paths of inodes below the shared directory, by their names on the host. */
export class HostPaths {
  private readonly bytes = new Uint8Array(PATH_MAX_BYTES)
  private readonly decoder = new TextDecoder()
  /** The path of the shared directory; empty for "/", which is the root of a sandbox. */
  private root: Uint8Array = NOTHING

  constructor(
    private readonly procFd: number,
    private readonly rootFd: number,
    private readonly inodes: InodeTable,
  ) {
    this.findRoot()
  }

  /** The descriptor of the shared directory is another one. */
  findRoot(): void {
    const root = this.read(this.rootFd) ?? NOTHING
    this.root = root.length === 1 ? NOTHING : root.slice()
  }

  /** The path of an inode below the shared directory, "" for the directory itself, undefined without a name there. */
  of(slot: number): string | undefined {
    const fd = this.inodes.fdOf(slot)
    const path = fd < 0 ? undefined : this.below(fd)
    return path === '' && slot !== FUSE_ROOT_ID ? undefined : path
  }

  /**
   * Returns true for an inode that was opened by its file handle after the host had dropped its name from the cache: until the
   * name is looked up again, the kernel calls its path "/".
   */
  isUnnamed(slot: number): boolean {
    if (slot === FUSE_ROOT_ID) return false
    const fd = this.inodes.fdOf(slot)
    return fd >= 0 && this.read(fd)?.length === 1
  }

  /** The path of the file of `fd`, without a leading slash. Undefined if it has no name below the directory. */
  below(fd: number): string | undefined {
    const path = this.namedBelow(fd)
    return path === undefined ? undefined : this.decoder.decode(path)
  }

  /** The same path for openat2(2): the host's bytes, NUL-terminated. Also undefined for the directory itself. */
  nameBelow(fd: number): Uint8Array | undefined {
    const path = this.namedBelow(fd)
    return path === undefined || path.length === 0 ? undefined : terminated(path)
  }

  /**
   * The bytes of the path, valid until the next call. Undefined outside of the directory. A file without a name has the one
   * it had last, and ` (deleted)` behind it: see `endsAsLost`.
   */
  bytesBelow(fd: number): Uint8Array | undefined {
    const path = this.read(fd)
    const { root } = this
    if (path === undefined || path.length < root.length) return undefined
    for (let n = 0; n < root.length; n++) if (path[n] !== root[n]) return undefined
    if (path.length === root.length) return NOTHING
    return path[root.length] === SLASH ? path.subarray(root.length + 1) : undefined
  }

  /** Returns true if the name by which the file of `fd` was found has gone. */
  hasLostName(fd: number): boolean {
    const path = this.read(fd)
    return path !== undefined && endsAsLost(path)
  }

  private namedBelow(fd: number): Uint8Array | undefined {
    const path = this.bytesBelow(fd)
    return path === undefined || endsAsLost(path) ? undefined : path
  }

  private read(fd: number): Uint8Array | undefined {
    const lenBytes = native.inodePath(this.procFd, fd, this.bytes)
    // A path that fills the buffer may be cut off.
    return lenBytes < 0 || lenBytes === PATH_MAX_BYTES ? undefined : this.bytes.subarray(0, lenBytes)
  }
}

/** Returns true if this may be the path of a file without a name. */
export function endsAsLost(path: Uint8Array): boolean {
  const from = path.length - LOST.length
  return from >= 0 && LOST.every((byte, n) => path[from + n] === byte)
}
