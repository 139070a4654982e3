import {
  ARGS,
  CreateIn,
  EACCES,
  EAGAIN,
  EBADF,
  EEXIST,
  EISDIR,
  ENFILE,
  EntryOut,
  EPERM,
  ESTALE,
  FlushIn,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FUSE_OPEN_KILL_SUIDGID,
  type HandleTable,
  OpenIn,
  OpenOut,
  POSTPONED,
  ReleaseIn,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Agreed } from '../agreed.js'
import { descriptorError } from '../descriptors.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { HostFileSystems } from '../inodes/host-file-system.js'
import type { HostPaths } from '../inodes/host-paths.js'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from '../inodes/inode-table.js'
import { STATX_MASK } from '../inodes/statx.js'
import type { LockOperations } from '../locks/locks.js'
import { removeMadeName } from '../names/made-name.js'
import type { NameOpener } from '../names/name-opener.js'
import type { Caller } from '../owners/caller.js'
import type { Privileges } from '../owners/privileges.js'
import { refusalOfMode } from '../owners/refused-modes.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { Replies } from '../replies.js'
import type { SecurityLabels } from '../xattrs/security-labels.js'
import type { AsyncIo } from './async-io.js'
import { ASYNC_SYNCFS } from './async-io.js'
import { HeldFd } from './held-fd.js'
import { NO_FD, OpenFile } from './open-file.js'
import { hostOpenFlags, opensForWriting, wantsAppend } from './open-flags.js'

const { O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_NOATIME, O_PATH, O_RDONLY, O_TMPFILE, O_TRUNC } =
  native.constants

const PERMISSIONS = 0o7777

const dot = new TextEncoder().encode('.\0')

/** What these operations work on. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly files: HandleTable<OpenFile>
  readonly opener: NameOpener
  readonly caller: Caller
  readonly labels: SecurityLabels
  readonly locks: LockOperations
  readonly async: AsyncIo
  readonly budget: FdBudget
  readonly privileges: Privileges
  readonly agreed: Agreed
  readonly replies: Replies
  readonly paths: HostPaths
  readonly hosts: HostFileSystems
  readonly options: PassthroughOptions
}

/** Opening and closing regular files. */
export class FileOperations {
  /** Of the file that a request makes or finds by its name. */
  private readonly st = new Int32Array(Statx.WORDS)
  /** Of the file as it is opened. */
  private readonly openSt = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

  /** FUSE_OPEN. Reply: open_out. Errors: EBADF for anything but a regular file, and what open gives. */
  open(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const guestFlags = OpenIn.flags(request.args, ARGS)
    const flags = hostOpenFlags(guestFlags, this.share.options)
    const file = this.openFile(request, slot, flags, guestFlags, OpenIn.openFlags(request.args, ARGS))
    if (typeof file === 'number') return postponedByLease(file)
    OpenOut.write(request.reply, 0, this.share.files.add(file), file.openFlags)
    return OpenOut.BYTES
  }

  /**
   * FUSE_CREATE: makes the file as the caller, or opens the one that is there. Reply: entry_out, open_out. Errors: ESTALE
   * when there is something else.
   */
  create(request: Request): number {
    const { args, argBytes, nameAt } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const refused = refusalOfMode(this.share.options, mode)
    if (refused < 0) return refused
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.beginCreating(request)
    if (parentFd < 0) return parentFd
    // A new file is its creator's own and empty: O_NOATIME is allowed, O_TRUNC does nothing.
    const wanted = hostOpenFlags(guestFlags, this.share.options) & ~O_TRUNC
    const flags = (wanted & ~O_DIRECT) | O_CREAT | O_EXCL
    const fd = this.share.opener.open(parentFd, argBytes, nameAt, flags, mode)
    this.share.caller.leave()
    const parent = this.share.inodes.slotOf(request.nodeid)
    if (fd === -EEXIST && (guestFlags & O_EXCL) === 0) return this.openExisting(request, parent, guestFlags)
    const slot =
      fd < 0 ? descriptorError(fd) : this.share.finder.adoptMade(fd, parentFd, argBytes, nameAt, this.st)
    if (fd < 0) return slot
    const result = this.replyNew(request, parent, slot, fd, wanted, guestFlags)
    if (result >= 0) return result
    // What could not be labelled, or not be opened as asked for, is not left behind.
    removeMadeName(fd, this.share.inodes.fdOf(parent), argBytes, nameAt, 0)
    native.close(fd)
    return result
  }

  /** FUSE_TMPFILE: makes a file without a name in a directory, as the caller. Reply: entry_out, open_out. */
  tmpfile(request: Request): number {
    const { args } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const refused = refusalOfMode(this.share.options, mode)
    if (refused < 0) return refused
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.beginCreating(request)
    if (parentFd < 0) return parentFd
    // With O_EXCL it never gets a name.
    const wanted = hostOpenFlags(guestFlags, this.share.options) & ~O_TRUNC
    const flags = (wanted & ~O_DIRECT) | (guestFlags & O_EXCL) | O_TMPFILE
    const fd = native.openat(parentFd, dot, 0, flags, mode)
    this.share.caller.leave()
    if (fd < 0) return descriptorError(fd)
    const pathFd = native.inodeOpen(this.share.options.procFd, fd, O_PATH)
    const slot = pathFd < 0 ? descriptorError(pathFd) : this.share.finder.adopt(pathFd, this.st)
    const parent = this.share.inodes.slotOf(request.nodeid)
    const result = this.replyNew(request, parent, slot, fd, wanted, guestFlags)
    if (result < 0) native.close(fd)
    return result
  }

  /** FUSE_FLUSH, at each close in the guest: what closing the host's file would say (NFS, quota). Reply: empty. */
  flush(request: Request): number {
    const { args } = request
    const file = this.share.files.get(FlushIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    // Closing any descriptor of a file gives up all of the closer's record locks.
    this.share.locks.dropOwner(file.nodeid, FlushIn.ownerLow(args, ARGS), FlushIn.ownerHigh(args, ARGS))
    const fd = native.dup(file.fd)
    // Out of descriptors: there is nothing to report of this file.
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
      if (file.writable) inodes.versions.removeWriter(slot)
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
    const fd = this.openInode(slot, O_RDONLY, true)
    if (fd < 0) return postponedByLease(fd)
    const held = new HeldFd(fd, this.share.budget)
    const result = this.share.async.call(request, held, ASYNC_SYNCFS, 0, 0, 0)
    held.release()
    return result
  }

  /**
   * Opens a file that is there for the guest. With O_DIRECT in `flags` it gets a second descriptor, opened first: a host that
   * has no O_DIRECT refuses before anything is emptied.
   */
  private openFile(
    request: Request,
    slot: number,
    flags: number,
    guestFlags: number,
    openInFlags: number,
  ): OpenFile | number {
    const isDirect = (flags & O_DIRECT) !== 0
    const directFd = isDirect ? this.openWanted(slot, flags & ~O_TRUNC, guestFlags) : NO_FD
    if (isDirect && directFd < 0) return directFd
    if ((flags & O_TRUNC) !== 0) this.beforeEmptying(request, slot, openInFlags)
    const room = !isDirect || this.share.budget.left >= 2
    const fd = room ? this.openWanted(slot, flags & ~O_DIRECT, guestFlags) : -ENFILE
    if (fd >= 0) {
      // What becomes of a program that is there already is the guest's: it is to run as nobody else.
      const { allowSuid } = this.share.options
      if (!allowSuid && opensForWriting(guestFlags)) this.share.privileges.dropSetIds(fd)
      return this.adopt(slot, fd, directFd, guestFlags)
    }
    if (isDirect) native.close(directFd)
    return fd
  }

  private openWanted(slot: number, flags: number, guestFlags: number): number {
    const fd = this.openInode(slot, flags)
    // An append-only file (chattr +a) may be opened for nothing else.
    return fd === -EPERM && wantsAppend(guestFlags) ? this.openInode(slot, flags | O_APPEND) : fd
  }

  /**
   * Only what cannot block and is no device of the host is ever opened for use. -EAGAIN when somebody on the host has a lease
   * on the file, and is now asked to give it up.
   */
  private openInode(slot: number, flags: number, orDirectory = false): number {
    const { share } = this
    const type = share.inodes.typeOf(slot)
    if (type === TYPE_DIRECTORY && !orDirectory) return -EISDIR
    if (type !== TYPE_REGULAR && type !== TYPE_DIRECTORY) return -EBADF
    if (!share.inodes.fds.makeRoom()) return -ENFILE
    const pathFd = share.inodes.fdOf(slot)
    if (pathFd < 0) return pathFd
    const fd = this.openAtOnce(pathFd, flags)
    // Only an owner may ask for O_NOATIME on the host, and the guest has made sure that its caller is one.
    return fd === -EPERM && (flags & O_NOATIME) !== 0 ? this.openAtOnce(pathFd, flags & ~O_NOATIME) : fd
  }

  /** Opens without waiting for a lease to be given up. */
  private openAtOnce(pathFd: number, flags: number): number {
    return descriptorError(native.inodeOpenAtOnce(this.share.options.procFd, pathFd, flags))
  }

  /** The descriptor of the directory to make a file in, as which this thread has become the caller; or an errno. */
  private beginCreating(request: Request): number {
    const { share } = this
    const parent = share.inodes.slotOf(request.nodeid)
    if (parent === 0 || share.inodes.typeOf(parent) !== TYPE_DIRECTORY) return -EBADF
    // One for the file, another for its O_DIRECT, and one for its inode.
    if (!share.inodes.fds.makeRoom() || share.budget.left < 3) return -ENFILE
    const parentFd = share.inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const entered = share.caller.enter(request, CreateIn.umask(request.args, ARGS))
    return entered < 0 ? entered : parentFd
  }

  /** Takes over `fd` if it succeeds: a file just made, whose inode is `slot` or could not be had (an errno). */
  private replyNew(
    request: Request,
    parent: number,
    slot: number,
    fd: number,
    flags: number,
    guestFlags: number,
  ): number {
    const { share } = this
    const labelled = slot < 0 ? slot : share.labels.labelNew(request, slot)
    const directFd = labelled < 0 || (flags & O_DIRECT) === 0 ? NO_FD : this.openDirect(slot, flags)
    const error = labelled < 0 ? labelled : directFd < 0 && directFd !== NO_FD ? directFd : 0
    if (error < 0) {
      if (slot > 0) share.inodes.unref(slot, 1)
      return error
    }
    return this.replyCreate(request, parent, slot, this.adopt(slot, fd, directFd, guestFlags))
  }

  /**
   * A file just made, with O_DIRECT. NO_FD when its mode keeps this process from opening it again, which is no error: its
   * maker may do with it what the mode denies to others, through the page cache.
   */
  private openDirect(slot: number, flags: number): number {
    const fd = this.openInode(slot, flags)
    return fd === -EACCES || fd === -EPERM ? NO_FD : fd
  }

  /** An open with O_TRUNC takes more than the contents of a file. */
  private beforeEmptying(request: Request, slot: number, openFlags: number): void {
    const { inodes, privileges, agreed } = this.share
    const kill = agreed.killsPrivileges && (openFlags & FUSE_OPEN_KILL_SUIDGID) !== 0
    if (!kill && !privileges.followsChanges) return
    const fd = inodes.fdOf(slot)
    if (fd >= 0) privileges.dropBeforeChange(fd, kill, request.gid)
  }

  private openExisting(request: Request, parent: number, guestFlags: number): number {
    const { share } = this
    const slot = share.finder.lookup(parent, request.argBytes, request.nameAt, this.st)
    if (slot < 0) return slot
    const flags = hostOpenFlags(guestFlags, share.options)
    const file = this.openFile(request, slot, flags, guestFlags, CreateIn.openFlags(request.args, ARGS))
    if (typeof file === 'number') {
      share.inodes.unref(slot, 1)
      // No file, but a link or fifo that the guest did not know of: told so, it looks at the name again.
      return file === -EBADF ? -ESTALE : postponedByLease(file)
    }
    // Emptying the file has changed the size and times that the lookup saw; fstatx of an open file does not fail.
    if ((guestFlags & O_TRUNC) !== 0) native.fstatx(file.fd, STATX_MASK, this.st)
    return this.replyCreate(request, parent, slot, file)
  }

  private replyCreate(request: Request, parent: number, slot: number, file: OpenFile): number {
    this.share.replies.writeEntry(request, 0, slot, parent, this.st)
    OpenOut.write(request.reply, EntryOut.BYTES, this.share.files.add(file), file.openFlags)
    return EntryOut.BYTES + OpenOut.BYTES
  }

  /** Takes over `fd`, and the same file with O_DIRECT (or NO_FD), as an open file of the guest's. */
  private adopt(slot: number, fd: number, directFd: number, guestFlags: number): OpenFile {
    const { share } = this
    const { inodes } = share
    const { rules } = share.options
    const { policy } = rules.forOpen(rules.any ? share.paths.of(slot) : undefined, guestFlags)
    // Record locks are given up by FLUSH.
    const hidden = share.agreed.keepsRecordLocks ? FOPEN_NOFLUSH : 0
    const chosen = (guestFlags & O_DIRECT) !== 0 ? policy.directFileFlags : policy.fileFlags
    const appendOnly = wantsAppend(guestFlags) && wantsAppend(native.statusFlags(fd))
    const writable = opensForWriting(guestFlags)
    const isGood = share.agreed.keepsUnchanged && this.hasGoodPages(slot, fd, writable)
    const keeps = isGood && policy.keepsUnchanged && (chosen & FOPEN_DIRECT_IO) === 0
    const kept = keeps ? FOPEN_KEEP_CACHE : 0
    const openFlags = appendOnly ? FOPEN_DIRECT_IO : (chosen & ~hidden) | kept
    const writesPages = writable && this.usesPages(openFlags)
    const host = share.hosts.of(inodes.deviceOf(slot), fd)
    inodes.fds.pin(slot)
    if (writesPages) inodes.dirty.addWriter(slot)
    if ((openFlags & (FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE)) === 0) inodes.dirty.dropped(slot)
    const nodeid = inodes.idOf(slot)
    return new OpenFile(
      fd,
      share.budget,
      nodeid,
      directFd,
      openFlags,
      host,
      writable,
      appendOnly,
      writesPages,
    )
  }

  /** Returns true if the guest's page cache may take what is written through an open with these FOPEN flags. */
  private usesPages(openFlags: number): boolean {
    return (openFlags & FOPEN_DIRECT_IO) === 0 || this.share.agreed.mapsDirect
  }

  /** Returns true if the pages that the guest has of a file, which it opens as `fd`, are still good. */
  private hasGoodPages(slot: number, fd: number, writable: boolean): boolean {
    const { openSt } = this
    const { inodes } = this.share
    return native.fstatx(fd, STATX_MASK, openSt) === 0 && inodes.versions.opened(slot, openSt, writable)
  }
}

/** What an open that failed with `error` returns: one that a lease is in the way of is served again. */
function postponedByLease(error: number): number {
  return error === -EAGAIN ? POSTPONED : error
}
