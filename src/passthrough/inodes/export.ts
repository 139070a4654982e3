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

/** What these operations work on. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly paths: HostPaths
  readonly replies: Replies
}

/**
 * LOOKUP of "." and "..", for a guest that exports the share itself, over NFS or by open_by_handle_at(2): it finds inodes
 * again by their node ids, also those that it has given back since, and the parents of directories.
 */
export class ExportOperations {
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

  /** Reply: entry_out. Errors: ESTALE for an inode that is gone, that is not kept any more, or that has left the share. */
  lookup(request: Request): number {
    const { share } = this
    const slot = share.inodes.keptSlotOf(request.nodeid)
    if (slot === 0) return -ESTALE
    if (request.argBytes[request.nameAt + 1] === DOT)
      return share.replies.entry(request, this.parentOf(slot), slot, this.st)
    const result = share.inodes.stat(slot, this.st)
    if (result < 0) return result
    // What the guest has open it does not ask for: this one has no name and no user, and goes as soon as it is closed here.
    if (Statx.nlink(this.st) === 0) return -ESTALE
    share.inodes.ref(slot)
    return share.replies.entry(request, slot, slot, this.st)
  }

  /** The slot of the directory above, with a lookup counted. Nothing is above the share: there it is the root itself. */
  private parentOf(slot: number): number {
    const { share } = this
    if (share.inodes.typeOf(slot) !== TYPE_DIRECTORY) return -ENOTDIR
    if (!share.inodes.fds.makeRoom()) return -ENFILE
    const fd = share.inodes.fdOf(slot)
    if (fd < 0) return fd
    const flags = O_PATH | O_DIRECTORY | O_NOFOLLOW
    const parentFd = slot === FUSE_ROOT_ID ? native.dup(fd) : native.openat(fd, dotDot, 0, flags, 0)
    if (parentFd < 0) return descriptorError(parentFd)
    // Somebody on the host may have moved the directory out of the share.
    if (share.paths.below(parentFd) !== undefined) return share.finder.adopt(parentFd, this.st)
    native.close(parentFd)
    return -ESTALE
  }
}

/** Returns true if the name of a request is "." or "..", which passes only where both sides agreed on it. */
export function isDots({ argBytes, nameAt }: Request): boolean {
  const second = argBytes[nameAt + 1]
  return argBytes[nameAt] === DOT && (second === 0 || (second === DOT && argBytes[nameAt + 2] === 0))
}
