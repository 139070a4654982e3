import * as native from 'virtiofsd-ts-native'
import type { InodeTable } from './inode-table.js'

const PATH_MAX_BYTES = 4096
const LOST = ' (deleted)'

/** Present paths of inodes below the shared directory, by their names on the host. */
export class HostPaths {
  private readonly bytes = new Uint8Array(PATH_MAX_BYTES)
  private readonly decoder = new TextDecoder()
  private readonly encoder = new TextEncoder()
  private readonly root: string

  constructor(
    private readonly procFd: number,
    rootFd: number,
    private readonly inodes: InodeTable,
  ) {
    this.root = this.read(rootFd) ?? '/'
  }

  /** The path of an inode below the shared directory, "" for the directory itself, undefined without a name there. */
  of(slot: number): string | undefined {
    const fd = this.inodes.fdOf(slot)
    return fd < 0 ? undefined : this.below(fd)
  }

  /** The path of the file of `fd`, without a leading slash. Undefined if it has no name below the directory. */
  below(fd: number): string | undefined {
    const path = this.read(fd)
    if (path === undefined || path.endsWith(LOST)) return undefined
    if (path === this.root) return ''
    const prefix = this.root === '/' ? '/' : `${this.root}/`
    return path.startsWith(prefix) ? path.slice(prefix.length) : undefined
  }

  /** The same path for openat2(2): the host's bytes, NUL-terminated. Also undefined for the directory itself. */
  nameBelow(fd: number): Uint8Array | undefined {
    const path = this.below(fd)
    if (path === undefined || path === '') return undefined
    const lenBytes = native.inodePath(this.procFd, fd, this.bytes)
    const rootBytes = this.root === '/' ? 1 : this.encoder.encode(this.root).length + 1
    if (lenBytes <= rootBytes || lenBytes === PATH_MAX_BYTES) return undefined
    this.bytes[lenBytes] = 0
    return this.bytes.slice(rootBytes, lenBytes + 1)
  }

  private read(fd: number): string | undefined {
    const lenBytes = native.inodePath(this.procFd, fd, this.bytes)
    // A path that fills the buffer may be cut off.
    if (lenBytes < 0 || lenBytes === PATH_MAX_BYTES) return undefined
    return this.decoder.decode(this.bytes.subarray(0, lenBytes))
  }
}
