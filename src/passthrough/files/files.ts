import { ARGS, EBADF, FlushIn, OpenIn, OpenOut, ReleaseIn, type Request } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { InodeTable } from '../inodes/inode-table.js'
import type { LockOperations } from '../locks/locks.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { AsyncIo } from './async-io.js'
import { ASYNC_SYNCFS } from './async-io.js'
import { type FileOpener, postponedByLease } from './file-opener.js'
import type { Handles } from './handles.js'
import { HeldFd } from './held-fd.js'
import type { OpenFile } from './open-file.js'
import { hostOpenFlags } from './open-flags.js'

const { O_RDONLY } = native.constants

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly locks: LockOperations
  readonly async: AsyncIo
  readonly budget: FdBudget
  readonly options: PassthroughOptions
}

/** Opens and closes regular files. */
export class FileOperations {
  constructor(
    private readonly share: Share,
    private readonly fileOpener: FileOpener,
  ) {}

  /**
   * FUSE_OPEN. Reply: open_out. Errors: EBADF unless it is a regular file, ESTALE if the host has removed it, and those of
   * open.
   */
  open(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const guestFlags = OpenIn.flags(request.args, ARGS)
    const flags = hostOpenFlags(guestFlags, this.share.options)
    const file = this.fileOpener.open(request, slot, flags, guestFlags, OpenIn.openFlags(request.args, ARGS))
    if (typeof file === 'number') return postponedByLease(file)
    OpenOut.write(request.reply, 0, this.share.files.add(file), file.openFlags)
    return OpenOut.BYTES
  }

  /** FUSE_FLUSH, sent at each close in the guest: reports the error that close gives on the host (NFS, quota). Reply: empty. */
  flush(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FlushIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    // Closing any descriptor of a file drops all record locks of the closing process.
    this.share.locks.dropOwner(file.nodeid, FlushIn.ownerLow(args, ARGS), FlushIn.ownerHigh(args, ARGS))
    const fd = native.dup(file.fd)
    // Without a free descriptor, flush has nothing to report about this file.
    return fd < 0 ? 0 : native.close(fd)
  }

  /** FUSE_RELEASE, after the last close. Reply: empty. */
  release(request: Request): number {
    const { files, inodes, locks } = this.share
    const file = files.remove(ReleaseIn.handle(request.args, ARGS))
    if (file === undefined) return -EBADF
    const slot = inodes.slotOf(file.nodeid)
    if (slot !== 0) {
      inodes.fds.unpin(slot)
      if (file.isWritable) inodes.versions.removeWriter(slot)
      if (file.writesPages) inodes.dirty.removeWriter(slot)
    }
    locks.released(file)
    file.release()
    locks.wake()
    return 0
  }

  /** FUSE_SYNCFS. Reply: empty. */
  syncfs(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const fd = this.fileOpener.openInode(slot, O_RDONLY, true)
    if (fd < 0) return postponedByLease(fd)
    const held = new HeldFd(fd, this.share.budget)
    const result = this.share.async.call(request, held, ASYNC_SYNCFS, 0, 0, 0)
    held.release()
    return result
  }
}
