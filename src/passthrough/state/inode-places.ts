import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { endsAsLost, HostPaths } from '../inodes/host-paths.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { openBelow } from '../inodes/open-below.js'
import { statxIsNameless, statxSameFile } from '../inodes/statx.js'
import type { NameOpener } from '../names/name-opener.js'

const { O_PATH } = native.constants

/** The parts of the share that paths come from. */
interface Share {
  readonly inodes: InodeTable
  readonly opener: NameOpener
  readonly procFd: number
}

/**
 * Present paths of inodes, as bytes. The kernel tells the path of a descriptor, so no rename can be
 * missed, whoever made it.
 */
export class InodePlaces {
  private readonly paths: HostPaths
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly otherSt = new Int32Array(Statx.WORDS)

  constructor(
    private readonly share: Share,
    private readonly rootFd: number,
    private readonly confirms: boolean,
  ) {
    this.paths = new HostPaths(share.procFd, rootFd, share.inodes)
  }

  /**
   * Returns the path below the shared directory of the inode behind `fd`; undefined if it has none, or it is not certain.
   * `wasOpen` is false for a descriptor that was opened by file handle just now: the kernel may not know a name for it.
   */
  pathOf(slot: number, fd: number, wasOpen: boolean): Uint8Array | undefined {
    const bytes = this.paths.bytesBelow(fd)
    if (bytes === undefined || bytes.length === 0) return bytes
    const path = bytes.slice()
    const mayBeLost = endsAsLost(path)
    const isSure = wasOpen || this.share.inodes.typeOf(slot) === TYPE_DIRECTORY
    if (isSure && !mayBeLost && !this.confirms) return path
    return this.isAt(path, fd) ? path : undefined
  }

  /** Returns true if the file of `fd` has no name any more. */
  isUnlinked(fd: number): boolean {
    return statxIsNameless(fd, this.st)
  }

  /** Returns true if the file of `fd` is the one at `path`. */
  isAt(path: Uint8Array, fd: number): boolean {
    const other = openBelow(this.rootFd, this.share.opener, path, O_PATH)
    if (other < 0) return false
    const isSame = statxSameFile(fd, other, this.st, this.otherSt)
    native.close(other)
    return isSame
  }
}
