import {
  ARGS,
  CopyFileRangeIn,
  EAGAIN,
  EBADF,
  EFBIG,
  EINVAL,
  ENOSYS,
  ENXIO,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  FallocateIn,
  FsyncIn,
  FUSE_FSYNC_FDATASYNC,
  FUSE_INVALID_UIDGID,
  FUSE_READ_LOCKOWNER,
  FUSE_WRITE_CACHE,
  FUSE_WRITE_KILL_SUIDGID,
  LseekIn,
  LseekOut,
  ReadIn,
  type Request,
  Statx,
  slotOfId,
  WriteIn,
  WriteOut,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Agreed } from '../agreed.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { STATX_MASK } from '../inodes/statx.js'
import type { Privileges } from '../owners/privileges.js'
import type { AsyncIo } from './async-io.js'
import { ASYNC_FALLOCATE, ASYNC_FDATASYNC, ASYNC_FSYNC } from './async-io.js'
import type { Handles } from './handles.js'
import { NO_FD, type OpenFile } from './open-file.js'
import { wantsAppend } from './open-flags.js'
import { LEAST_SHARED_BYTES } from './shared-copies.js'

const { O_DIRECT, RWF_APPEND, RWF_NOWAIT, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } = native.constants

/** Linux's limit for one call. The old COPY_FILE_RANGE reply also holds only 32 bits. */
const MAX_COPY_BYTES = 0x7ffff000
/** In-memory work up to this size runs in line: handing it to another thread takes longer. */
const INLINE_BYTES = 1024 * 1024

const ARGS_OF_WRITE = ARGS + WriteIn.BYTES

/** True if offset and length are both non-negative and their sum is a safe integer. */
function isRange(offsetBytes: number, lenBytes: number): boolean {
  return offsetBytes >= 0 && lenBytes >= 0 && Number.isSafeInteger(offsetBytes + lenBytes)
}

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly async: AsyncIo
  readonly privileges: Privileges
  readonly agreed: Agreed
}

/** Returns true if a request with these guest file flags bypasses the host's page cache. */
function isDirect(file: OpenFile, guestFlags: number): boolean {
  return file.directFd !== NO_FD && (guestFlags & O_DIRECT) !== 0
}

/**
 * Data of open files. Work that needs no device runs in line, directly between the file and the guest's pages. Work that
 * would wait for a device goes to `async`.
 */
export class DataOperations {
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

  /** FUSE_READ. Reply: the data, short only at the end of the file. Errors: EBADF, EISDIR, EOVERFLOW. */
  read(request: Request): number {
    const { args } = request
    const file = this.share.files.get(ReadIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const offsetBytes = ReadIn.offsetBytes(args, ARGS)
    if (offsetBytes < 0) return this.isCountable(file) ? request.replyInPlace(0) : -EOVERFLOW
    const lenBytes = Math.min(ReadIn.sizeBytes(args, ARGS), request.replyRoomBytes)
    // A file that is longer than a Number can count does not end there: the guest is not to take it for the end.
    if (!isRange(offsetBytes, lenBytes)) {
      if (!this.isCountable(file)) return -EOVERFLOW
      return this.readCached(request, file, offsetBytes, Number.MAX_SAFE_INTEGER - offsetBytes, true)
    }
    const fillsPages = (ReadIn.readFlags(args, ARGS) & FUSE_READ_LOCKOWNER) === 0
    if (!fillsPages && isDirect(file, ReadIn.flags(args, ARGS)))
      return this.share.async.read(request, file, file.directFd, offsetBytes, lenBytes, 0, false)
    if (fillsPages) this.share.inodes.dirty.filled(slotOfId(file.nodeid))
    const { async } = this.share
    if (lenBytes >= LEAST_SHARED_BYTES && async.copies.wants(lenBytes, request.carrier.followerCount ?? 0))
      return async.readCached(request, file, offsetBytes, lenBytes, fillsPages)
    return this.readCached(request, file, offsetBytes, lenBytes, fillsPages)
  }

  /** FUSE_WRITE. Reply: write_out. Errors: EBADF, EINVAL, EFBIG and those of pwritev2. */
  write(request: Request): number {
    const { args } = request
    const { files, async, privileges } = this.share
    const file = files.get(WriteIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const lenBytes = WriteIn.sizeBytes(args, ARGS)
    if (lenBytes > request.payloadBytes(WriteIn.BYTES)) return -EINVAL
    const offsetBytes = WriteIn.offsetBytes(args, ARGS)
    if (!isRange(offsetBytes, lenBytes)) return -EFBIG
    // A write-back carries the offset of its cached data, whatever flags the file was opened with.
    const writeFlags = WriteIn.writeFlags(args, ARGS)
    const cached = (writeFlags & FUSE_WRITE_CACHE) !== 0
    if (cached && file.isAppendOnly) return -EPERM
    const openFlags = WriteIn.flags(args, ARGS)
    const flags = !cached && wantsAppend(openFlags) ? RWF_APPEND : 0
    // A guest sets this flag on direct writes whatever INIT agreed on, and then relies on the device to clear the bits.
    const kill = (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0
    if (kill || privileges.followsChanges) privileges.dropBeforeChange(file.fd, kill, request.gid)
    const fd = !cached && isDirect(file, openFlags) ? file.directFd : file.fd
    if (fd === file.directFd || async.slowWrites.away) {
      return async.write(request, file, fd, offsetBytes, lenBytes, ARGS_OF_WRITE, 0, flags, cached)
    }
    async.slowWrites.count(lenBytes)
    const written = request.payloadToFile(WriteIn.BYTES, fd, offsetBytes, lenBytes, flags)
    if (written < 0) return written
    // Linux takes any write-back reply for the whole length, so the reply to a short one is the error behind it.
    if (cached && written < lenBytes)
      return async.write(request, file, fd, offsetBytes, lenBytes, ARGS_OF_WRITE, written, flags, true)
    WriteOut.write(request.reply, 0, written)
    return WriteOut.BYTES
  }

  /** FUSE_FSYNC. Reply: empty. */
  fsync(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FsyncIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const dataOnly = (FsyncIn.fsyncFlags(args, ARGS) & FUSE_FSYNC_FDATASYNC) !== 0
    if (file.host.inMemory) return native.fdatasync(file.fd)
    return this.share.async.call(request, file, dataOnly ? ASYNC_FDATASYNC : ASYNC_FSYNC, 0, 0, 0)
  }

  /** FUSE_FALLOCATE. Reply: empty. Errors: EBADF, EFBIG and those of fallocate. */
  fallocate(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FallocateIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const offsetBytes = FallocateIn.offsetBytes(args, ARGS)
    const lenBytes = FallocateIn.lenBytes(args, ARGS)
    if (!isRange(offsetBytes, lenBytes)) return -EFBIG
    this.dropPrivileges(request, file)
    const mode = FallocateIn.mode(args, ARGS) | 0
    if (file.host.inMemory && lenBytes <= INLINE_BYTES)
      return native.fallocate(file.fd, mode, offsetBytes, lenBytes)
    return this.share.async.call(request, file, ASYNC_FALLOCATE, mode, offsetBytes, lenBytes)
  }

  /**
   * FUSE_LSEEK. Linux sends it for SEEK_DATA and SEEK_HOLE and computes other positions itself. Small systems ask for
   * SEEK_END and SEEK_SET, too. A file of which the guest may hold unwritten data counts as all data. Reply: lseek_out.
   * Errors: ENOSYS (with write-back, only the guest knows data and size), EBADF, EINVAL, ENXIO (no such position, or a
   * negative one), EOVERFLOW.
   */
  lseek(request: Request): number {
    const { args } = request
    const { inodes } = this.share
    if (inodes.dirty.writesBack) return -ENOSYS
    const file = this.share.files.get(LseekIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const whence = LseekIn.whence(args, ARGS)
    const at = this.position(request, file, whence)
    if (at < 0) return at
    if (at > Number.MAX_SAFE_INTEGER) return -EOVERFLOW
    LseekOut.write(request.reply, 0, at)
    return LseekOut.BYTES
  }

  /** The position that LSEEK asks for, or a negative errno. */
  private position({ args }: Request, file: OpenFile, whence: number): number {
    // READ and WRITE carry their offsets: SEEK_CUR could count from nothing.
    if (whence === SEEK_SET || whence === SEEK_END) {
      const signedBytes = LseekIn.signedOffsetBytes(args, ARGS)
      return Number.isNaN(signedBytes) ? -EINVAL : native.lseek(file.fd, signedBytes, whence)
    }
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL
    const { inodes } = this.share
    const offsetBytes = LseekIn.offsetBytes(args, ARGS)
    if (offsetBytes < 0) return this.isCountable(file) ? -ENXIO : -EOVERFLOW
    return inodes.dirty.has(inodes.slotOf(file.nodeid))
      ? this.seekInData(file, offsetBytes, whence)
      : native.lseek(file.fd, offsetBytes, whence)
  }

  /** The answer of lseek for a file that is all data. */
  private seekInData(file: OpenFile, offsetBytes: number, whence: number): number {
    const { st } = this
    const result = native.fstatx(file.fd, STATX_MASK, st)
    if (result < 0) return result
    const sizeBytes = Statx.sizeBytes(st)
    if (offsetBytes >= sizeBytes) return -ENXIO
    return whence === SEEK_DATA ? offsetBytes : sizeBytes
  }

  /** Returns true if the file's size is a safe integer. Some host file systems have longer files. */
  private isCountable(file: OpenFile): boolean {
    const { st } = this
    return native.fstatx(file.fd, STATX_MASK, st) === 0 && Statx.sizeBytes(st) <= Number.MAX_SAFE_INTEGER
  }

  /** FUSE_COPY_FILE_RANGE. Reply: write_out. Errors: EBADF, EINVAL (flags), EFBIG and those of copy_file_range. */
  copyFileRange(request: Request): number {
    const { args } = request
    const { files, async } = this.share
    const from = files.get(CopyFileRangeIn.inHandle(args, ARGS))
    const to = files.get(CopyFileRangeIn.outHandle(args, ARGS))
    if (from === undefined || to === undefined) return -EBADF
    if (CopyFileRangeIn.flagsLow(args, ARGS) !== 0 || CopyFileRangeIn.flagsHigh(args, ARGS) !== 0)
      return -EINVAL
    const inBytes = CopyFileRangeIn.inOffsetBytes(args, ARGS)
    const outBytes = CopyFileRangeIn.outOffsetBytes(args, ARGS)
    const wantBytes = CopyFileRangeIn.lenBytes(args, ARGS)
    const lenBytes = wantBytes < 0 ? MAX_COPY_BYTES : Math.min(wantBytes, MAX_COPY_BYTES)
    if (!isRange(inBytes, lenBytes) || !isRange(outBytes, lenBytes)) return -EFBIG
    this.dropPrivileges(request, to)
    if (!from.host.inMemory || lenBytes > INLINE_BYTES) {
      return async.copyRange(request, from, inBytes, to, outBytes, lenBytes)
    }
    const copied = native.copyFileRange(from.fd, inBytes, to.fd, outBytes, lenBytes)
    if (copied < 0) return copied
    WriteOut.write(request.reply, 0, copied)
    return WriteOut.BYTES
  }

  /** FUSE_COPY_FILE_RANGE_64. Reply: copy_file_range_out, whose 8 bytes match those of write_out. */
  copyFileRange64(request: Request): number {
    return this.copyFileRange(request)
  }

  /** FALLOCATE and COPY_FILE_RANGE do not name their caller's rights. Only root keeps the privileges of a file. */
  private dropPrivileges(request: Request, file: OpenFile): void {
    const { privileges, agreed } = this.share
    const { killsPrivileges } = agreed
    const { uid, gid } = request
    if (killsPrivileges && uid === FUSE_INVALID_UIDGID) privileges.dropWhatIsLeft(file.fd)
    privileges.dropBeforeChange(file.fd, killsPrivileges && uid !== 0 && uid !== FUSE_INVALID_UIDGID, gid)
  }

  /**
   * Takes data from the host's page cache, and reads the rest asynchronously. Only an empty read marks the end of the file.
   * With `isWhole`, the guest takes missing data for a hole, so an error after some data is the answer.
   */
  private readCached(
    request: Request,
    file: OpenFile,
    offsetBytes: number,
    lenBytes: number,
    isWhole: boolean,
  ): number {
    const { fd, host } = file
    let doneBytes = 0
    let flags = host.nowaitReads ? RWF_NOWAIT : 0
    while (doneBytes < lenBytes) {
      const result = request.replyFromFile(fd, offsetBytes, lenBytes, doneBytes, flags)
      if (result === -EAGAIN && flags !== 0)
        return this.share.async.read(request, file, fd, offsetBytes, lenBytes, doneBytes, isWhole)
      if (result === -EOPNOTSUPP && flags !== 0) {
        host.nowaitReads = false
        flags = 0
        continue
      }
      if (result < 0 && (isWhole || doneBytes === 0)) return result
      if (result <= 0) break
      doneBytes += result
    }
    return request.replyInPlace(doneBytes)
  }
}
