import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { openBelow } from '../inodes/open-below.js'
import { STATX_MASK, statxIsSame } from '../inodes/statx.js'
import type { NameOpener } from '../names/name-opener.js'

const { AT_EMPTY_PATH, O_PATH } = native.constants

const PATH_MAX_BYTES = 4096
const SLASH = 0x2f
const HANDLE_ANSWER_BYTES = 136

const emptyName = new Uint8Array(1)
const encoder = new TextEncoder()
const LOST = encoder.encode(' (deleted)')

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
  private readonly bytes = new Uint8Array(PATH_MAX_BYTES)
  private readonly answer = new Uint8Array(HANDLE_ANSWER_BYTES)
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly otherSt = new Int32Array(Statx.WORDS)
  private readonly root: Uint8Array

  constructor(
    private readonly share: Share,
    private readonly rootFd: number,
    private readonly confirms: boolean,
  ) {
    const lenBytes = native.inodePath(share.procFd, rootFd, this.bytes)
    const root = this.bytes.slice(0, Math.max(0, lenBytes))
    // The root of a sandbox is "/".
    this.root = root.length === 1 ? root.subarray(1) : root
  }

  /**
   * Returns the path below the shared directory of the inode behind `fd`; undefined if it has none, or it is not certain.
   * `wasOpen` is false for a descriptor that was opened by file handle just now: the kernel may not know a name for it.
   */
  pathOf(slot: number, fd: number, wasOpen: boolean): Uint8Array | undefined {
    const lenBytes = native.inodePath(this.share.procFd, fd, this.bytes)
    const { root, bytes } = this
    if (lenBytes < root.length || lenBytes === PATH_MAX_BYTES) return undefined
    for (let n = 0; n < root.length; n++) if (bytes[n] !== root[n]) return undefined
    if (lenBytes === root.length) return emptyName.subarray(1)
    if (bytes[root.length] !== SLASH) return undefined
    const path = bytes.slice(root.length + 1, lenBytes)
    const mayBeLost = endsWith(path, LOST)
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

function endsWith(bytes: Uint8Array, end: Uint8Array): boolean {
  const from = bytes.length - end.length
  return from >= 0 && end.every((byte, n) => bytes[from + n] === byte)
}
