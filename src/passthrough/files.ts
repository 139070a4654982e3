import * as native from 'virtiofsd-ts-native'
import { FUSE_FSYNC_FDATASYNC, FUSE_WRITE_CACHE } from '../fuse/abi.js'
import { EBADF, EEXIST, EFBIG, EINVAL, EISDIR, EOVERFLOW, EPERM } from '../fuse/errno.js'
import { ARGS, type Request } from '../fuse/request.js'
import {
  CopyFileRangeIn,
  CreateIn,
  EntryOut,
  FallocateIn,
  FlushIn,
  FsyncIn,
  LseekIn,
  LseekOut,
  OpenIn,
  OpenOut,
  ReadIn,
  ReleaseIn,
  WriteIn,
  WriteOut,
} from '../fuse/wire.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from './inode-table.js'
import { hostOpenFlags, wantsAppend } from './open-flags.js'
import { descriptorError, type Share } from './share.js'
import { STATX_MASK } from './statx.js'

const { O_CREAT, O_EXCL, O_NOATIME, O_PATH, O_RDONLY, O_TRUNC, RWF_APPEND, SEEK_DATA, SEEK_HOLE } =
  native.constants

/** Linux moves no more than this in one call, and the old COPY_FILE_RANGE reply has 32 bits for it. */
const MAX_COPY_BYTES = 0x7ffff000
const PERMISSIONS = 0o7777

/** Whether both, neither of them -1, name bytes of a file that end below 2^53. */
function isRange(offsetBytes: number, lenBytes: number): boolean {
  return offsetBytes >= 0 && lenBytes >= 0 && Number.isSafeInteger(offsetBytes + lenBytes)
}

/** Opening, reading and writing regular files. */
export class FileOperations {
  constructor(private readonly share: Share) {}

  /** FUSE_OPEN. Reply: open_out. Errors: EBADF for anything but a regular file, and what open gives. */
  open(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const guestFlags = OpenIn.flags(request.args, ARGS)
    const fd = this.openInode(slot, hostOpenFlags(guestFlags, this.share.options))
    if (fd < 0) return fd
    this.writeOpen(request, 0, fd)
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
    if (fd === -EEXIST && (guestFlags & O_EXCL) === 0) return this.openExisting(request, parent, flags)
    if (fd < 0) return descriptorError(fd)
    const pathFd = native.inodeOpen(share.procFd, fd, O_PATH)
    const slot = pathFd < 0 ? descriptorError(pathFd) : share.adopt(pathFd)
    if (slot < 0) {
      native.close(fd)
      return slot
    }
    return this.replyCreate(request, slot, fd)
  }

  /** FUSE_READ. Reply: the data, shorter than asked for only at the end of the file. Errors: EBADF, EINVAL, EISDIR. */
  read(request: Request): number {
    const { args } = request
    const file = this.share.files.get(ReadIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const offsetBytes = ReadIn.offsetBytes(args, ARGS)
    if (offsetBytes < 0) return -EINVAL
    const lenBytes = Math.min(ReadIn.sizeBytes(args, ARGS), request.replyRoomBytes)
    return request.replyFromFile(file.fd, offsetBytes, lenBytes, 0)
  }

  /** FUSE_WRITE. Reply: write_out. Errors: EBADF, EINVAL, EFBIG and what pwritev2 gives. */
  write(request: Request): number {
    const { args } = request
    const file = this.share.files.get(WriteIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const lenBytes = WriteIn.sizeBytes(args, ARGS)
    if (lenBytes > request.payloadBytes(WriteIn.BYTES)) return -EINVAL
    const offsetBytes = WriteIn.offsetBytes(args, ARGS)
    if (!isRange(offsetBytes, lenBytes)) return -EFBIG
    // A write-back has the offset it was cached at, whatever the file was opened with.
    const cached = (WriteIn.writeFlags(args, ARGS) & FUSE_WRITE_CACHE) !== 0
    const flags = !cached && wantsAppend(WriteIn.flags(args, ARGS)) ? RWF_APPEND : 0
    const written = request.payloadToFile(WriteIn.BYTES, file.fd, offsetBytes, lenBytes, flags)
    if (written < 0) return written
    WriteOut.write(request.reply, 0, written)
    return WriteOut.BYTES
  }

  /** FUSE_FLUSH, at each close in the guest: what closing the host's file would say (NFS, quota). Reply: empty. */
  flush(request: Request): number {
    const file = this.share.files.get(FlushIn.handle(request.args, ARGS))
    if (file === undefined) return -EBADF
    const fd = native.dup(file.fd)
    return fd < 0 ? descriptorError(fd) : native.close(fd)
  }

  /** FUSE_RELEASE, after the last close. Reply: empty. */
  release(request: Request): number {
    const file = this.share.files.remove(ReleaseIn.handle(request.args, ARGS))
    if (file === undefined) return -EBADF
    native.close(file.fd)
    return 0
  }

  /** FUSE_FSYNC. Reply: empty. */
  fsync(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FsyncIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const dataOnly = (FsyncIn.fsyncFlags(args, ARGS) & FUSE_FSYNC_FDATASYNC) !== 0
    return dataOnly ? native.fdatasync(file.fd) : native.fsync(file.fd)
  }

  /** FUSE_FALLOCATE. Reply: empty. Errors: EBADF, EFBIG and what fallocate gives. */
  fallocate(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FallocateIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const offsetBytes = FallocateIn.offsetBytes(args, ARGS)
    const lenBytes = FallocateIn.lenBytes(args, ARGS)
    if (!isRange(offsetBytes, lenBytes)) return -EFBIG
    return native.fallocate(file.fd, FallocateIn.mode(args, ARGS) | 0, offsetBytes, lenBytes)
  }

  /** FUSE_LSEEK: only where data and holes begin; other positions are the guest's own. Reply: lseek_out. */
  lseek(request: Request): number {
    const { args } = request
    const file = this.share.files.get(LseekIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const whence = LseekIn.whence(args, ARGS)
    const offsetBytes = LseekIn.offsetBytes(args, ARGS)
    if ((whence !== SEEK_DATA && whence !== SEEK_HOLE) || offsetBytes < 0) return -EINVAL
    const at = native.lseek(file.fd, offsetBytes, whence)
    if (at < 0) return at
    // A file of the host may be longer than a Number can count.
    if (at > Number.MAX_SAFE_INTEGER) return -EOVERFLOW
    LseekOut.write(request.reply, 0, at)
    return LseekOut.BYTES
  }

  /** FUSE_COPY_FILE_RANGE. Reply: write_out. Errors: EBADF, EINVAL (flags), EFBIG and what copy_file_range gives. */
  copyFileRange(request: Request): number {
    const { args } = request
    const { files } = this.share
    const from = files.get(CopyFileRangeIn.inHandle(args, ARGS))
    const to = files.get(CopyFileRangeIn.outHandle(args, ARGS))
    if (from === undefined || to === undefined) return -EBADF
    if (CopyFileRangeIn.flagsLow(args, ARGS) !== 0 || CopyFileRangeIn.flagsHigh(args, ARGS) !== 0)
      return -EINVAL
    const inBytes = CopyFileRangeIn.inOffsetBytes(args, ARGS)
    const outBytes = CopyFileRangeIn.outOffsetBytes(args, ARGS)
    const lenBytes = Math.min(CopyFileRangeIn.lenBytes(args, ARGS), MAX_COPY_BYTES)
    if (!isRange(inBytes, lenBytes) || !isRange(outBytes, lenBytes)) return -EFBIG
    const copied = native.copyFileRange(from.fd, inBytes, to.fd, outBytes, lenBytes)
    if (copied < 0) return copied
    WriteOut.write(request.reply, 0, copied)
    return WriteOut.BYTES
  }

  /** FUSE_SYNCFS. Reply: empty. */
  syncfs(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const fd = this.openInode(slot, O_RDONLY, true)
    if (fd < 0) return fd
    const result = native.syncfs(fd)
    native.close(fd)
    return result
  }

  /** Only what cannot block and is no device of the host is ever opened for use. */
  private openInode(slot: number, flags: number, orDirectory = false): number {
    const { inodes, procFd } = this.share
    const type = inodes.typeOf(slot)
    if (type === TYPE_DIRECTORY && !orDirectory) return -EISDIR
    if (type !== TYPE_REGULAR && type !== TYPE_DIRECTORY) return -EBADF
    const fd = native.inodeOpen(procFd, inodes.fdOf(slot), flags)
    // Only an owner may ask for O_NOATIME on the host, and the guest has made sure that its caller is one.
    if (fd === -EPERM && (flags & O_NOATIME) !== 0) {
      return descriptorError(native.inodeOpen(procFd, inodes.fdOf(slot), flags & ~O_NOATIME))
    }
    return descriptorError(fd)
  }

  private createExclusive(request: Request, parent: number, flags: number, mode: number): number {
    const { caller, inodes } = this.share
    const entered = caller.enter(request)
    if (entered < 0) return entered
    // A new file is its creator's own and empty: O_NOATIME is allowed, O_TRUNC does nothing.
    const createFlags = (flags & ~O_TRUNC) | O_CREAT | O_EXCL
    const fd = native.openat(inodes.fdOf(parent), request.argBytes, request.nameAt, createFlags, mode)
    caller.leave()
    return fd
  }

  private openExisting(request: Request, parent: number, flags: number): number {
    const { share } = this
    const slot = share.lookup(parent, request.argBytes, request.nameAt)
    if (slot < 0) return slot
    const fd = this.openInode(slot, flags)
    if (fd < 0) {
      share.inodes.unref(slot, 1)
      return fd
    }
    // Emptying the file has changed the size and times that the lookup saw; fstatx of an open file does not fail.
    if ((flags & O_TRUNC) !== 0) native.fstatx(fd, STATX_MASK, share.st)
    return this.replyCreate(request, slot, fd)
  }

  private replyCreate(request: Request, slot: number, fd: number): number {
    this.share.writeEntry(request, 0, slot)
    this.writeOpen(request, EntryOut.BYTES, fd)
    return EntryOut.BYTES + OpenOut.BYTES
  }

  private writeOpen(request: Request, at: number, fd: number): void {
    const { files, options } = this.share
    OpenOut.write(request.reply, at, files.add({ fd }), options.policy.fileFlags)
  }
}
