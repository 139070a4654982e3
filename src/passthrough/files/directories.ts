import {
  ARGS,
  Dirent,
  EBADF,
  EINVAL,
  ENFILE,
  ENOTDIR,
  EntryOut,
  ESTALE,
  FsyncIn,
  FUSE_FSYNC_FDATASYNC,
  FUSE_ROOT_ID,
  MAX_REPLY_BYTES,
  OpenOut,
  ReadIn,
  ReleaseIn,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { OpenRules } from '../../io-mode/open-rules.js'
import { descriptorError } from '../descriptors.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import type { RemovedByHost } from '../inodes/removed-by-host.js'
import type { Replies } from '../replies.js'
import type { AsyncIo } from './async-io.js'
import { ASYNC_FDATASYNC, ASYNC_FSYNC } from './async-io.js'
import type { Handles } from './handles.js'
import type { Leftovers } from './leftovers.js'
import { DirentReader, OpenDirectory } from './open-directory.js'

const { O_DIRECTORY, O_RDONLY } = native.constants

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly directories: Handles<OpenDirectory>
  readonly leftovers: Leftovers
  readonly async: AsyncIo
  readonly budget: FdBudget
  readonly replies: Replies
  readonly rules: OpenRules
  readonly procFd: number
  readonly removed: RemovedByHost
}

/** Reads directories. Positions are the host's: 64 opaque bits, which survive a seek in the guest. */
export class DirectoryOperations {
  private readonly dirents: DirentReader
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {
    this.dirents = new DirentReader(share.leftovers)
  }

  /** FUSE_OPENDIR. Reply: open_out. Errors: EBADF, ENOTDIR, ESTALE if the host has removed it. */
  opendir(request: Request): number {
    const { inodes, directories, procFd, rules, removed } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    if (inodes.typeOf(slot) !== TYPE_DIRECTORY) return -ENOTDIR
    if (!inodes.fds.makeRoom()) return -ENFILE
    const pathFd = inodes.fdOf(slot)
    const fd = pathFd < 0 ? pathFd : native.inodeOpen(procFd, pathFd, O_RDONLY | O_DIRECTORY)
    if (fd < 0) return descriptorError(fd)
    if (removed.refuses(request, slot, fd)) {
      native.close(fd)
      return -ESTALE
    }
    const handle = directories.add(new OpenDirectory(fd, this.share.budget, request.nodeid))
    OpenOut.write(request.reply, 0, handle, rules.base.directoryFlags)
    return OpenOut.BYTES
  }

  /** FUSE_READDIR. Reply: dirents, or nothing at the end. Errors: EBADF, EINVAL (no room) and those of getdents. */
  readdir(request: Request): number {
    return this.list(request, false)
  }

  /** FUSE_READDIRPLUS. Reply: an entry_out and a dirent per child. Each child except "." and ".." counts as a lookup. */
  readdirplus(request: Request): number {
    return this.list(request, true)
  }

  /** FUSE_RELEASEDIR. Reply: empty. */
  releasedir(request: Request): number {
    const directory = this.share.directories.remove(ReleaseIn.handle(request.args, ARGS))
    if (directory === undefined) return -EBADF
    this.share.leftovers.drop(directory)
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
   * Returns the bytes of all entries that fit, or an errno if not even one fits or can be read: EINVAL for too little room,
   * as with getdents. An empty reply would mean the end of the directory.
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
    // A reply entry is longer than its record, and several times longer with attributes.
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
   * Writes the entry_out of the current record. Node id 0 means that only the name is known: for "." and "..", and for a
   * child that cannot be looked up. Such a child must not hide the others.
   */
  private writeEntry(request: Request, at: number, parent: number): void {
    const { dirents, share } = this
    const { st } = this
    const slot = this.dirents.isDots
      ? 0
      : share.finder.lookupListed(parent, dirents.bytes, dirents.nameAt, st)
    if (slot > 0) share.replies.writeEntry(request, at, slot, parent, st)
    else EntryOut.writeNothing(request.replyWords, at >> 2, 0)
  }

  private writeDirent(request: Request, at: number, parent: number, nameBytes: number): void {
    const { dirents } = this
    const { inodes } = this.share
    // The guest must not see the directory above the share.
    const hide = parent === FUSE_ROOT_ID && this.dirents.isDots
    const inoLow = hide ? inodes.inoLowOf(parent) : dirents.inoLow
    const inoHigh = hide ? inodes.inoHighOf(parent) : dirents.inoHigh
    const { offLow, offHigh, type } = dirents
    Dirent.writeHead(request.reply, at, inoLow, inoHigh, offLow, offHigh, type, nameBytes)
    Dirent.writeName(
      request.replyBytes,
      at,
      dirents.bytes.subarray(dirents.nameAt, dirents.nameAt + nameBytes),
    )
  }
}
