import {
  ARGS,
  CreateIn,
  EACCES,
  EAGAIN,
  EBADF,
  EEXIST,
  EISDIR,
  ENFILE,
  ENOENT,
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
import type { FileRecord } from '../../state/handle-records.js'
import type { Agreed } from '../agreed.js'
import { descriptorError } from '../descriptors.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import { type HostFileSystems, hostFileSystemAt } from '../inodes/host-file-system.js'
import type { HostPaths } from '../inodes/host-paths.js'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from '../inodes/inode-table.js'
import type { RemovedByHost } from '../inodes/removed-by-host.js'
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

const {
  O_ACCMODE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DSYNC,
  O_EXCL,
  O_NOATIME,
  O_SYNC,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  O_TRUNC,
} = native.constants

const PERMISSIONS = 0o7777

/** The flags of an open file that another device keeps. */
const REOPENED = O_ACCMODE | O_APPEND | O_DSYNC | O_NOATIME | O_SYNC

const dot = new TextEncoder().encode('.\0')

/** The parts of the share that these operations use. */
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
  readonly removed: RemovedByHost
  readonly options: PassthroughOptions
}

/** Opens and closes regular files. */
export class FileOperations {
  /** Attributes of the file that a request makes or finds by name. */
  private readonly st = new Int32Array(Statx.WORDS)
  /** Attributes of the file at open. */
  private readonly openSt = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

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
    const file = this.openFile(request, slot, flags, guestFlags, OpenIn.openFlags(request.args, ARGS))
    if (typeof file === 'number') return postponedByLease(file)
    OpenOut.write(request.reply, 0, this.share.files.add(file), file.openFlags)
    return OpenOut.BYTES
  }

  /**
   * FUSE_CREATE: makes the file as the caller, or opens the existing one. Reply: entry_out, open_out. Errors: ESTALE if
   * the name is not a regular file.
   */
  create(request: Request): number {
    const { args, argBytes, nameAt } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const refused = refusalOfMode(this.share.options, mode)
    if (refused < 0) return refused
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.beginCreating(request)
    if (parentFd < 0) return parentFd
    // The creator owns a new file, so O_NOATIME is allowed. The file is empty, so O_TRUNC does nothing.
    const wanted = hostOpenFlags(guestFlags, this.share.options) & ~O_TRUNC
    const flags = (wanted & ~O_DIRECT) | O_CREAT | O_EXCL
    const fd = this.share.opener.open(parentFd, argBytes, nameAt, flags, mode)
    this.share.caller.leave()
    const parent = this.share.inodes.slotOf(request.nodeid)
    if (fd === -EEXIST && (guestFlags & O_EXCL) === 0) return this.openExisting(request, parent, guestFlags)
    if (fd === -ENOENT && this.share.removed.isDirectoryGone(parent, parentFd)) return -ESTALE
    const slot =
      fd < 0 ? descriptorError(fd) : this.share.finder.adoptMade(fd, parentFd, argBytes, nameAt, this.st)
    if (fd < 0) return slot
    const result = this.replyNew(request, parent, slot, fd, wanted, guestFlags)
    if (result >= 0) return result
    // A file that cannot be labelled or opened as requested is removed again.
    removeMadeName(fd, this.share.inodes.fdOf(parent), argBytes, nameAt, 0)
    native.close(fd)
    return result
  }

  /** FUSE_TMPFILE: makes a nameless file in a directory, as the caller. Reply: entry_out, open_out. */
  tmpfile(request: Request): number {
    const { args } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const refused = refusalOfMode(this.share.options, mode)
    if (refused < 0) return refused
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.beginCreating(request)
    if (parentFd < 0) return parentFd
    // With O_EXCL the file never gets a name.
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
      if (file.writable) inodes.versions.removeWriter(slot)
      if (file.writesPages) inodes.dirty.removeWriter(slot)
    }
    locks.released(file)
    file.release()
    locks.wake()
    return 0
  }

  /** Opens a file again that the guest has had open on another device. Returns it, or a negative errno. */
  reopen(slot: number, saved: FileRecord): OpenFile | number {
    const { inodes, budget } = this.share
    const flags = saved.hostFlags & REOPENED
    const fd = this.openInode(slot, flags)
    if (fd < 0) return fd
    const opened = saved.hasDirect && budget.left >= 2 ? this.openInode(slot, flags | O_DIRECT) : NO_FD
    const directFd = opened < 0 ? NO_FD : opened
    // What the guest has in its page cache is not known here.
    inodes.dirty.filled(slot)
    inodes.versions.movedOpen(slot, saved.isWritable)
    const { openFlags, isWritable, isAppendOnly, writesPages } = saved
    return this.hold(slot, fd, directFd, openFlags, isWritable, isAppendOnly, writesPages)
  }

  /** Takes over a file that the guest has had open in another process. The guest may have forgotten its inode. */
  adoptOpen(nodeid: number, saved: FileRecord, fd: number, directFd: number): OpenFile {
    const { inodes, budget } = this.share
    const slot = inodes.slotOf(nodeid)
    const { openFlags, isWritable, isAppendOnly, writesPages } = saved
    if (slot === 0) {
      const host = hostFileSystemAt(fd)
      return new OpenFile(
        fd,
        budget,
        nodeid,
        directFd,
        openFlags,
        host,
        isWritable,
        isAppendOnly,
        writesPages,
      )
    }
    // What the guest has in its page cache is not known here.
    inodes.dirty.filled(slot)
    inodes.versions.movedOpen(slot, isWritable)
    return this.hold(slot, fd, directFd, openFlags, isWritable, isAppendOnly, writesPages)
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
   * Opens an existing file for the guest. With O_DIRECT in `flags` it gets a second descriptor. That one is opened first: a
   * host without O_DIRECT refuses before the file is emptied.
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
    const isStated = fd >= 0 && this.share.removed.canBe(slot, fd) && this.statOpened(fd)
    if (isStated && Statx.nlink(this.openSt) === 0 && !this.share.removed.insists(request)) {
      native.close(fd)
      if (isDirect) native.close(directFd)
      return -ESTALE
    }
    if (fd >= 0) {
      // The guest writes an existing program, which must not run as another user afterwards.
      const { allowSuid } = this.share.options
      if (!allowSuid && opensForWriting(guestFlags)) this.share.privileges.dropSetIds(fd)
      return this.adopt(slot, fd, directFd, guestFlags, isStated)
    }
    if (isDirect) native.close(directFd)
    return fd
  }

  private statOpened(fd: number): boolean {
    return native.fstatx(fd, STATX_MASK, this.openSt) === 0
  }

  private openWanted(slot: number, flags: number, guestFlags: number): number {
    const fd = this.openInode(slot, flags)
    // An append-only file (chattr +a) can only be opened with O_APPEND.
    return fd === -EPERM && wantsAppend(guestFlags) ? this.openInode(slot, flags | O_APPEND) : fd
  }

  /**
   * Opens an inode for use. Refuses types that could block or that are devices of the host. Returns -EAGAIN if a process on
   * the host holds a lease on the file; the kernel then asks that process to give it up.
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
    // The host lets only the owner use O_NOATIME. The guest has already checked that its caller is the owner.
    return fd === -EPERM && (flags & O_NOATIME) !== 0 ? this.openAtOnce(pathFd, flags & ~O_NOATIME) : fd
  }

  /** Opens without waiting for a lease. The descriptor keeps O_NONBLOCK: see OpenFile.setBlocking. */
  private openAtOnce(pathFd: number, flags: number): number {
    return descriptorError(native.inodeOpen(this.share.options.procFd, pathFd, flags | O_NONBLOCK))
  }

  /** Becomes the caller. Returns the descriptor of the directory for the new file, or a negative errno. */
  private beginCreating(request: Request): number {
    const { share } = this
    const parent = share.inodes.slotOf(request.nodeid)
    if (parent === 0 || share.inodes.typeOf(parent) !== TYPE_DIRECTORY) return -EBADF
    // One descriptor for the file, one for its O_DIRECT and one for its inode.
    if (!share.inodes.fds.makeRoom() || share.budget.left < 3) return -ENFILE
    const parentFd = share.inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const entered = share.caller.enter(request, CreateIn.umask(request.args, ARGS))
    return entered < 0 ? entered : parentFd
  }

  /** Takes over `fd`, a new file, if it succeeds. `slot` is its inode, or the errno of the attempt to get one. */
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
   * Opens a new file with O_DIRECT. Returns NO_FD if the file's mode keeps this process from opening it again. That is no
   * error: the file's maker goes through the page cache instead.
   */
  private openDirect(slot: number, flags: number): number {
    const fd = this.openInode(slot, flags)
    return fd === -EACCES || fd === -EPERM ? NO_FD : fd
  }

  /** Prepares an open with O_TRUNC, which removes more than the contents of a file. */
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
      // The name is a link or fifo that the guest did not know. ESTALE makes it look the name up again.
      return file === -EBADF ? -ESTALE : postponedByLease(file)
    }
    // Emptying the file changed the size and times from the lookup. fstatx of an open file does not fail.
    if ((guestFlags & O_TRUNC) !== 0) native.fstatx(file.fd, STATX_MASK, this.st)
    return this.replyCreate(request, parent, slot, file)
  }

  private replyCreate(request: Request, parent: number, slot: number, file: OpenFile): number {
    this.share.replies.writeEntry(request, 0, slot, parent, this.st)
    OpenOut.write(request.reply, EntryOut.BYTES, this.share.files.add(file), file.openFlags)
    return EntryOut.BYTES + OpenOut.BYTES
  }

  /**
   * Takes over `fd`, and `directFd` (the same file with O_DIRECT, or NO_FD), as an open file of the guest. With `isStated`,
   * `openSt` has its attributes.
   */
  private adopt(slot: number, fd: number, directFd: number, guestFlags: number, isStated = false): OpenFile {
    const { share } = this
    const { inodes } = share
    const { rules } = share.options
    const { policy } = rules.forOpen(rules.any ? share.paths.of(slot) : undefined, guestFlags)
    // FLUSH drops record locks.
    const hidden = share.agreed.keepsRecordLocks ? FOPEN_NOFLUSH : 0
    const chosen = (guestFlags & O_DIRECT) !== 0 ? policy.directFileFlags : policy.fileFlags
    const appendOnly = wantsAppend(guestFlags) && wantsAppend(native.statusFlags(fd))
    const writable = opensForWriting(guestFlags)
    const isGood = share.agreed.keepsUnchanged && this.hasGoodPages(slot, fd, writable, isStated)
    const keeps = isGood && policy.keepsUnchanged && (chosen & FOPEN_DIRECT_IO) === 0
    const kept = keeps ? FOPEN_KEEP_CACHE : 0
    const openFlags = appendOnly ? FOPEN_DIRECT_IO : (chosen & ~hidden) | kept
    const writesPages = writable && this.usesPages(openFlags)
    if ((openFlags & (FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE)) === 0) inodes.dirty.dropped(slot)
    return this.hold(slot, fd, directFd, openFlags, writable, appendOnly, writesPages)
  }

  private hold(
    slot: number,
    fd: number,
    directFd: number,
    openFlags: number,
    writable: boolean,
    appendOnly: boolean,
    writesPages: boolean,
  ): OpenFile {
    const { inodes, hosts, budget } = this.share
    const host = hosts.of(inodes.deviceOf(slot), fd)
    inodes.fds.pin(slot)
    if (writesPages) inodes.dirty.addWriter(slot)
    const file = new OpenFile(
      fd,
      budget,
      inodes.idOf(slot),
      directFd,
      openFlags,
      host,
      writable,
      appendOnly,
      writesPages,
    )
    if (!host.ignoresNonblock) file.setBlocking()
    return file
  }

  /** Returns true if writes through an open with these FOPEN flags may go to the guest's page cache. */
  private usesPages(openFlags: number): boolean {
    return (openFlags & FOPEN_DIRECT_IO) === 0 || this.share.agreed.mapsDirect
  }

  /** Returns true if the guest's cached pages of the file that it opens as `fd` are still valid. */
  private hasGoodPages(slot: number, fd: number, writable: boolean, isStated: boolean): boolean {
    const { versions } = this.share.inodes
    return (isStated || this.statOpened(fd)) && versions.opened(slot, this.openSt, writable)
  }
}

/** The result of an open that failed with `error`. An open that a lease blocks is tried again. */
function postponedByLease(error: number): number {
  return error === -EAGAIN ? POSTPONED : error
}
