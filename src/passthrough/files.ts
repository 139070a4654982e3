import * as native from 'virtiofsd-ts-native'
import { EBADF, EEXIST, EISDIR, ENFILE, EPERM } from '../fuse/errno.js'
import { ARGS, type Request } from '../fuse/request.js'
import { CreateIn, EntryOut, FlushIn, OpenIn, OpenOut, ReleaseIn } from '../fuse/wire.js'
import { ASYNC_SYNCFS } from './async-io.js'
import { HeldFd } from './held-fd.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from './inode-table.js'
import { OpenFile } from './open-file.js'
import { hostOpenFlags } from './open-flags.js'
import { descriptorError, type Share } from './share.js'
import { STATX_MASK } from './statx.js'

const { O_CREAT, O_DIRECT, O_EXCL, O_NOATIME, O_PATH, O_RDONLY, O_TRUNC } = native.constants

const PERMISSIONS = 0o7777

/** Opening and closing regular files. */
export class FileOperations {
  constructor(private readonly share: Share) {}

  /** FUSE_OPEN. Reply: open_out. Errors: EBADF for anything but a regular file, and what open gives. */
  open(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const guestFlags = OpenIn.flags(request.args, ARGS)
    const flags = hostOpenFlags(guestFlags, this.share.options)
    const fd = this.openInode(slot, flags)
    if (fd < 0) return fd
    this.writeOpen(request, 0, slot, fd, guestFlags)
    return OpenOut.BYTES
  }

  /** FUSE_CREATE: makes the file as the caller, or opens the one that is there. Reply: entry_out, open_out. */
  create(request: Request): number {
    const { share } = this
    const { inodes } = share
    const { args } = request
    const parent = inodes.slotOf(request.nodeid)
    if (parent === 0 || inodes.typeOf(parent) !== TYPE_DIRECTORY) return -EBADF
    const guestFlags = CreateIn.flags(args, ARGS)
    const flags = hostOpenFlags(guestFlags, share.options)
    const fd = this.createExclusive(request, parent, flags, CreateIn.mode(args, ARGS) & PERMISSIONS)
    if (fd === -EEXIST && (guestFlags & O_EXCL) === 0) return this.openExisting(request, parent, guestFlags)
    if (fd < 0) return descriptorError(fd)
    const pathFd = native.inodeOpen(share.procFd, fd, O_PATH)
    const slot = pathFd < 0 ? descriptorError(pathFd) : share.adopt(pathFd)
    if (slot < 0) {
      native.close(fd)
      return slot
    }
    return this.replyCreate(request, slot, fd, guestFlags)
  }

  /** FUSE_FLUSH, at each close in the guest: what closing the host's file would say (NFS, quota). Reply: empty. */
  flush(request: Request): number {
    const file = this.share.files.get(FlushIn.handle(request.args, ARGS))
    if (file === undefined) return -EBADF
    const fd = native.dup(file.fd)
    // Out of descriptors: there is nothing to report of this file.
    return fd < 0 ? 0 : native.close(fd)
  }

  /** FUSE_RELEASE, after the last close. Reply: empty. */
  release(request: Request): number {
    const { files, inodes } = this.share
    const file = files.remove(ReleaseIn.handle(request.args, ARGS))
    if (file === undefined) return -EBADF
    const slot = inodes.slotOf(file.nodeid)
    if (slot !== 0) inodes.fds.unpin(slot)
    file.release()
    return 0
  }

  /** FUSE_SYNCFS. Reply: empty. */
  syncfs(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const fd = this.openInode(slot, O_RDONLY, true)
    if (fd < 0) return fd
    const held = new HeldFd(fd, this.share.budget)
    const result = this.share.async.call(request, held, ASYNC_SYNCFS, 0, 0, 0)
    held.release()
    return result
  }

  /** Only what cannot block and is no device of the host is ever opened for use. */
  private openInode(slot: number, flags: number, orDirectory = false): number {
    const { share } = this
    const type = share.inodes.typeOf(slot)
    if (type === TYPE_DIRECTORY && !orDirectory) return -EISDIR
    if (type !== TYPE_REGULAR && type !== TYPE_DIRECTORY) return -EBADF
    if (!share.makeRoom()) return -ENFILE
    const pathFd = share.inodes.fdOf(slot)
    if (pathFd < 0) return pathFd
    const fd = native.inodeOpen(share.procFd, pathFd, flags)
    // Only an owner may ask for O_NOATIME on the host, and the guest has made sure that its caller is one.
    if (fd === -EPERM && (flags & O_NOATIME) !== 0) {
      return descriptorError(native.inodeOpen(share.procFd, pathFd, flags & ~O_NOATIME))
    }
    return descriptorError(fd)
  }

  private createExclusive(request: Request, parent: number, flags: number, mode: number): number {
    const { share } = this
    // One for the file and one for its inode.
    if (!share.makeRoom() || share.budget.left < 2) return -ENFILE
    const parentFd = share.inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const entered = share.caller.enter(request)
    if (entered < 0) return entered
    // A new file is its creator's own and empty: O_NOATIME is allowed, O_TRUNC does nothing.
    const createFlags = (flags & ~O_TRUNC) | O_CREAT | O_EXCL
    const fd = native.openat(parentFd, request.argBytes, request.nameAt, createFlags, mode)
    share.caller.leave()
    return fd
  }

  private openExisting(request: Request, parent: number, guestFlags: number): number {
    const { share } = this
    const slot = share.lookup(parent, request.argBytes, request.nameAt)
    if (slot < 0) return slot
    const fd = this.openInode(slot, hostOpenFlags(guestFlags, share.options))
    if (fd < 0) {
      share.inodes.unref(slot, 1)
      return fd
    }
    // Emptying the file has changed the size and times that the lookup saw; fstatx of an open file does not fail.
    if ((guestFlags & O_TRUNC) !== 0) native.fstatx(fd, STATX_MASK, share.st)
    return this.replyCreate(request, slot, fd, guestFlags)
  }

  private replyCreate(request: Request, slot: number, fd: number, guestFlags: number): number {
    this.share.writeEntry(request, 0, slot)
    this.writeOpen(request, EntryOut.BYTES, slot, fd, guestFlags)
    return EntryOut.BYTES + OpenOut.BYTES
  }

  /** Takes over `fd` as an open file of the guest's; its handle and FOPEN flags go into the reply at byte `at`. */
  private writeOpen(request: Request, at: number, slot: number, fd: number, guestFlags: number): void {
    const { share } = this
    const { allowDirectIo, rules } = share.options
    const nodeid = share.inodes.idOf(slot)
    const guestDirect = (guestFlags & O_DIRECT) !== 0
    const { policy } = rules.forOpen(rules.any ? share.pathOfSlot(slot) : undefined, guestFlags)
    const openFlags = guestDirect ? policy.directFileFlags : policy.fileFlags
    const hostDirect = guestDirect && allowDirectIo
    const file = new OpenFile(fd, share.budget, nodeid, hostDirect, openFlags, share.hostOf(slot, fd))
    share.inodes.fds.pin(slot)
    OpenOut.write(request.reply, at, share.files.add(file), openFlags)
  }
}
