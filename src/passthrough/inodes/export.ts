import { ENFILE, ENOTDIR, ESTALE, FUSE_ROOT_ID, type Request, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { descriptorError } from '../descriptors.js'
import type { Replies } from '../replies.js'
import type { HostPaths } from './host-paths.js'
import type { InodeFinder } from './inode-finder.js'
import type { InodeTable } from './inode-table.js'
import { TYPE_DIRECTORY } from './inode-table.js'

const { O_DIRECTORY, O_NOFOLLOW, O_PATH } = native.constants

const DOT = 0x2e

const dotDot = new TextEncoder().encode('..\0')

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly paths: HostPaths
  readonly replies: Replies
}

/**
 * LOOKUP of "." and "..", for a guest that exports the share over NFS or uses open_by_handle_at(2). The guest finds inodes
 * by node id, including those it has forgotten, and the parents of directories. Windows' driver asks for the root as ".".
 */
export class ExportOperations {
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

  /** Reply: entry_out. Errors: ESTALE for an inode that is deleted, no longer kept or outside the share. */
  lookup(request: Request): number {
    const { share } = this
    const slot = share.inodes.keptSlotOf(request.nodeid)
    if (slot === 0) return -ESTALE
    if (request.argBytes[request.nameAt + 1] === DOT)
      return share.replies.entry(request, this.parentOf(slot), slot, this.st)
    const result = share.inodes.stat(slot, this.st)
    if (result < 0) return result
    // The guest does not look up files it has open. This inode has no name and no user, and vanishes once closed here.
    if (Statx.nlink(this.st) === 0) return -ESTALE
    share.inodes.ref(slot)
    return share.replies.entry(request, slot, slot, this.st)
  }

  /** Returns the slot of the parent directory, with a lookup counted. The root's parent is the root itself. */
  private parentOf(slot: number): number {
    const { share } = this
    if (share.inodes.typeOf(slot) !== TYPE_DIRECTORY) return -ENOTDIR
    if (!share.inodes.fds.makeRoom()) return -ENFILE
    const fd = share.inodes.fdOf(slot)
    if (fd < 0) return fd
    const flags = O_PATH | O_DIRECTORY | O_NOFOLLOW
    const parentFd = slot === FUSE_ROOT_ID ? native.dup(fd) : native.openat(fd, dotDot, 0, flags, 0)
    if (parentFd < 0) return descriptorError(parentFd)
    // A process on the host may have moved the directory out of the share.
    if (share.paths.below(parentFd) !== undefined) return share.finder.adopt(parentFd, this.st)
    native.close(parentFd)
    return -ESTALE
  }
}

/** Returns true if the name is ".", or "..", which is allowed only if both sides agreed on it. */
export function isDots({ argBytes, nameAt }: Request): boolean {
  const second = argBytes[nameAt + 1]
  return argBytes[nameAt] === DOT && (second === 0 || (second === DOT && argBytes[nameAt + 2] === 0))
}
