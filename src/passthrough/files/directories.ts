import * as native from 'virtiofsd-ts-native'
import { FUSE_FSYNC_FDATASYNC, FUSE_ROOT_ID } from '../../virtio-fs/abi.js'
import { EBADF, EINVAL, ENFILE, ENOTDIR } from '../../virtio-fs/errno.js'
import { ARGS, MAX_REPLY_BYTES, type Request } from '../../virtio-fs/request.js'
import { Dirent, EntryOut, FsyncIn, OpenOut, ReadIn, ReleaseIn } from '../../virtio-fs/wire.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { descriptorError, type Share } from '../share.js'
import { ASYNC_FDATASYNC, ASYNC_FSYNC } from './async-io.js'
import { DirentReader, OpenDirectory } from './open-directory.js'

const { O_DIRECTORY, O_RDONLY } = native.constants

const DOT = 0x2e

/** Reading directories. Positions are the host's, 64 opaque bits; they survive a seek in the guest. */
export class DirectoryOperations {
  private readonly dirents = new DirentReader()

  constructor(private readonly share: Share) {}

  /** FUSE_OPENDIR. Reply: open_out. Errors: EBADF, ENOTDIR. */
  opendir(request: Request): number {
    const { inodes, directories, procFd, options } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    if (inodes.typeOf(slot) !== TYPE_DIRECTORY) return -ENOTDIR
    if (!this.share.makeRoom()) return -ENFILE
    const pathFd = inodes.fdOf(slot)
    const fd = pathFd < 0 ? pathFd : native.inodeOpen(procFd, pathFd, O_RDONLY | O_DIRECTORY)
    if (fd < 0) return descriptorError(fd)
    const handle = directories.add(new OpenDirectory(fd, this.share.budget))
    OpenOut.write(request.reply, 0, handle, options.rules.base.directoryFlags)
    return OpenOut.BYTES
  }

  /** FUSE_READDIR. Reply: dirents, none at the end. Errors: EBADF, EINVAL (no room), and what getdents gives. */
  readdir(request: Request): number {
    return this.list(request, false)
  }

  /** FUSE_READDIRPLUS. Reply: an entry_out and a dirent for each; each child but "." and ".." counts as a lookup. */
  readdirplus(request: Request): number {
    return this.list(request, true)
  }

  /** FUSE_RELEASEDIR. Reply: empty. */
  releasedir(request: Request): number {
    const directory = this.share.directories.remove(ReleaseIn.handle(request.args, ARGS))
    if (directory === undefined) return -EBADF
    directory.release()
    return 0
  }

  /** FUSE_FSYNCDIR. Reply: empty. */
  fsyncdir(request: Request): number {
    const { args } = request
    const directory = this.share.directories.get(FsyncIn.handle(args, ARGS))
    if (directory === undefined) return -EBADF
    const dataOnly = (FsyncIn.fsyncFlags(args, ARGS) & FUSE_FSYNC_FDATASYNC) !== 0
    return this.share.async.call(request, directory, dataOnly ? ASYNC_FDATASYNC : ASYNC_FSYNC, 0, 0, 0)
  }

  private list(request: Request, plus: boolean): number {
    const { dirents } = this
    const { args } = request
    const directory = this.share.directories.get(ReadIn.handle(args, ARGS))
    const parent = this.share.inodes.slotOf(request.nodeid)
    if (directory === undefined || parent === 0) return -EBADF
    const opened = dirents.open(directory, ReadIn.cookieLow(args, ARGS), ReadIn.cookieHigh(args, ARGS))
    if (opened < 0) return opened
    const roomBytes = Math.min(ReadIn.sizeBytes(args, ARGS), request.replyRoomBytes, MAX_REPLY_BYTES)
    const result = this.fill(request, directory, parent, roomBytes, plus)
    dirents.close(directory)
    return result
  }

  /**
   * Returns the bytes of whole entries that fit, or an errno when not even one could be had: EINVAL, as from getdents,
   * when there is no room for it. Nothing at all would mean the end of the directory.
   */
  private fill(
    request: Request,
    directory: OpenDirectory,
    parent: number,
    roomBytes: number,
    plus: boolean,
  ): number {
    const { dirents } = this
    const entryBytes = plus ? EntryOut.BYTES : 0
    // An entry of the reply is longer than the record it comes from, several times with attributes.
    const wantBytes = plus ? roomBytes >> 2 : roomBytes
    let filled = 0
    for (;;) {
      const more = dirents.more(directory, wantBytes)
      if (more < 0 && filled === 0) return more
      if (more <= 0) return filled
      const nameBytes = dirents.nameBytes
      const nextFilled = filled + entryBytes + Dirent.paddedBytes(nameBytes)
      if (nextFilled > roomBytes) return filled > 0 ? filled : -EINVAL
      if (plus) this.writeEntry(request, filled, parent)
      this.writeDirent(request, filled + entryBytes, parent, nameBytes)
      filled = nextFilled
      dirents.next(directory)
    }
  }

  /**
   * The entry_out of the current record. Node id 0 says that nothing is known beyond the name: for "." and "..", and for
   * a child that cannot be looked up, which must not keep the others from being listed.
   */
  private writeEntry(request: Request, at: number, parent: number): void {
    const { dirents, share } = this
    const slot = this.isDotOrDotDot() ? 0 : share.lookup(parent, dirents.bytes, dirents.nameAt)
    if (slot > 0) share.replies.writeEntry(request, at, slot, parent)
    else request.replyWords.fill(0, at >> 2, (at + EntryOut.BYTES) >> 2)
  }

  private writeDirent(request: Request, at: number, parent: number, nameBytes: number): void {
    const { dirents } = this
    const { reply } = request
    // The directory above the share is none of the guest's business.
    const hide = parent === FUSE_ROOT_ID && this.isDotOrDotDot()
    reply.setUint32(at, hide ? this.share.inodes.inoLowOf(parent) : dirents.inoLow, true)
    reply.setUint32(at + 4, hide ? this.share.inodes.inoHighOf(parent) : dirents.inoHigh, true)
    reply.setUint32(at + 8, dirents.offLow, true)
    reply.setUint32(at + 12, dirents.offHigh, true)
    reply.setUint32(at + 16, nameBytes, true)
    reply.setUint32(at + 20, dirents.type, true)
    const nameAt = at + Dirent.BYTES
    const end = at + Dirent.paddedBytes(nameBytes)
    request.replyBytes.set(dirents.bytes.subarray(dirents.nameAt, dirents.nameAt + nameBytes), nameAt)
    request.replyBytes.fill(0, nameAt + nameBytes, end)
  }

  private isDotOrDotDot(): boolean {
    const { bytes, nameAt } = this.dirents
    if (bytes[nameAt] !== DOT) return false
    return bytes[nameAt + 1] === 0 || (bytes[nameAt + 1] === DOT && bytes[nameAt + 2] === 0)
  }
}
