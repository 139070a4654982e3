import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { HANDLE_MAX_BYTES } from '../../state/inode-records.js'
import { endsAsLost, HostPaths } from '../inodes/host-paths.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { openBelow } from '../inodes/open-below.js'
import { STATX_MASK, statxIsSame } from '../inodes/statx.js'
import type { NameOpener } from '../names/name-opener.js'

const { AT_EMPTY_PATH, O_PATH } = native.constants

/** What name_to_handle_at(2) writes: the size of a handle, then the handle. */
const HANDLE_ANSWER_BYTES = 4 + HANDLE_MAX_BYTES

const emptyName = new Uint8Array(1)

/** The parts of the share that paths come from. */
interface Share {
  readonly inodes: InodeTable
  readonly opener: NameOpener
  readonly procFd: number
}

/**
 * Present paths and file handles of inodes, as bytes. The kernel tells the path of a descriptor, so no rename can be
 * missed, whoever made it.
 */
export class InodePlaces {
  private readonly paths: HostPaths
  private readonly answer = new Uint8Array(HANDLE_ANSWER_BYTES)
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

  /** Returns the host's file handle, type and bytes; undefined if the file system has none. Valid until the next call. */
  handleOf(fd: number): Uint8Array | undefined {
    const lenBytes = native.nameToHandleAt(fd, emptyName, 0, AT_EMPTY_PATH, this.answer)
    return lenBytes < 0 ? undefined : this.answer.subarray(4, 8 + lenBytes)
  }

  /** Returns true if the file of `fd` has no name any more. */
  isUnlinked(fd: number): boolean {
    return native.fstatx(fd, STATX_MASK, this.st) === 0 && Statx.nlink(this.st) === 0
  }

  /** Returns true if the file of `fd` is the one at `path`. */
  isAt(path: Uint8Array, fd: number): boolean {
    const other = openBelow(this.rootFd, this.share.opener, path, O_PATH)
    if (other < 0) return false
    const { st, otherSt } = this
    const isSame =
      native.fstatx(fd, STATX_MASK, st) === 0 &&
      native.fstatx(other, STATX_MASK, otherSt) === 0 &&
      statxIsSame(st, otherSt)
    native.close(other)
    return isSame
  }
}
