import {
  EACCES,
  EAGAIN,
  EBADF,
  EISDIR,
  ENFILE,
  EPERM,
  ESTALE,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FUSE_OPEN_KILL_SUIDGID,
  POSTPONED,
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
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from '../inodes/inode-table.js'
import type { RemovedByHost } from '../inodes/removed-by-host.js'
import { STATX_MASK } from '../inodes/statx.js'
import type { Privileges } from '../owners/privileges.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import { type FileUse, NO_FD, OpenFile } from './open-file.js'
import { isWriteOnly, opensForWriting, wantsAppend } from './open-flags.js'

const { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_NOATIME, O_NONBLOCK, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } =
  native.constants

/** The flags of an open file that another device keeps. */
const REOPENED = O_ACCMODE | O_APPEND | O_DSYNC | O_NOATIME | O_SYNC

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly budget: FdBudget
  readonly privileges: Privileges
  readonly agreed: Agreed
  readonly paths: HostPaths
  readonly hosts: HostFileSystems
  readonly removed: RemovedByHost
  readonly options: PassthroughOptions
}

/** Opens inodes for the guest, and keeps what each open needs. */
export class FileOpener {
  /** Attributes of the file at open. */
  private readonly openSt = new Int32Array(Statx.WORDS)

  constructor(private readonly share: Share) {}

  /**
   * Opens an existing file for the guest. With O_DIRECT in `flags` it gets a second descriptor. That one is opened first: a
   * host without O_DIRECT refuses before the file is emptied.
   */
  open(
    request: Request,
    slot: number,
    flags: number,
    guestFlags: number,
    openInFlags: number,
  ): OpenFile | number {
    if (this.lacksName(request, slot)) return -ESTALE
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

  /**
   * Returns true if rules go by the path of an inode, and the host has dropped its name. After ESTALE, Linux looks the path up
   * again. It opens what it has no path for, such as a descriptor in /proc, by asking again.
   */
  private lacksName(request: Request, slot: number): boolean {
    const { options, paths, removed } = this.share
    return options.rules.any && paths.isUnnamed(slot) && !removed.insists(request)
  }

  private statOpened(fd: number): boolean {
    return native.fstatx(fd, STATX_MASK, this.openSt) === 0
  }

  private openWanted(slot: number, flags: number, guestFlags: number): number {
    const fd = this.openInode(slot, flags)
    // An append-only file (chattr +a) can only be opened with O_APPEND.
    if (fd === -EPERM && wantsAppend(guestFlags)) return this.openInode(slot, flags | O_APPEND)
    // The guest did not ask for the right to read: see hostOpenFlags.
    const isWider = (flags & O_ACCMODE) === O_RDWR && isWriteOnly(guestFlags)
    return fd === -EACCES && isWider ? this.openInode(slot, (flags & ~O_ACCMODE) | O_WRONLY) : fd
  }

  /**
   * Opens an inode for use. Refuses types that could block or that are devices of the host. Returns -EAGAIN if a process on
   * the host holds a lease on the file; the kernel then asks that process to give it up.
   */
  openInode(slot: number, flags: number, orDirectory = false): number {
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

  /**
   * Takes over `fd`, and `directFd` (the same file with O_DIRECT, or NO_FD), as an open file of the guest. With `isStated`,
   * `openSt` has its attributes.
   */
  adopt(slot: number, fd: number, directFd: number, guestFlags: number, isStated = false): OpenFile {
    const { share } = this
    const { inodes } = share
    const { rules } = share.options
    const { policy } = rules.forOpen(rules.any ? share.paths.of(slot) : undefined, guestFlags)
    // FLUSH drops record locks.
    const hidden = share.agreed.keepsRecordLocks ? FOPEN_NOFLUSH : 0
    const chosen = (guestFlags & O_DIRECT) !== 0 ? policy.directFileFlags : policy.fileFlags
    const isAppendOnly = wantsAppend(guestFlags) && wantsAppend(native.statusFlags(fd))
    // To change a part of a page, a guest that writes back reads the rest through the same handle.
    const canFillPages =
      !share.options.writeback || !isWriteOnly(guestFlags) || !isWriteOnly(native.statusFlags(fd))
    const isWritable = opensForWriting(guestFlags)
    const isGood = share.agreed.keepsUnchanged && this.hasGoodPages(slot, fd, isWritable, isStated)
    const keeps = isGood && policy.keepsUnchanged && (chosen & FOPEN_DIRECT_IO) === 0
    const kept = keeps ? FOPEN_KEEP_CACHE : 0
    // The guest's page cache ends where the file's size says.
    const isGenerated = share.hosts.of(inodes.deviceOf(slot), fd).isGenerated
    const mustBeDirect = isAppendOnly || !canFillPages || isGenerated
    const openFlags = mustBeDirect ? FOPEN_DIRECT_IO : (chosen & ~hidden) | kept
    const writesPages = isWritable && this.usesPages(openFlags)
    if ((openFlags & (FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE)) === 0) inodes.dirty.dropped(slot)
    return this.hold(slot, fd, directFd, { openFlags, isWritable, isAppendOnly, writesPages })
  }

  private hold(slot: number, fd: number, directFd: number, use: FileUse): OpenFile {
    const { inodes, hosts, budget } = this.share
    const host = hosts.of(inodes.deviceOf(slot), fd)
    inodes.fds.pin(slot)
    if (use.writesPages) inodes.dirty.addWriter(slot)
    const file = new OpenFile(fd, directFd, budget, inodes.idOf(slot), host, use)
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
    return this.hold(slot, fd, directFd, saved)
  }

  /** Takes over a file that the guest has had open in another process. The guest may have forgotten its inode. */
  adoptOpen(nodeid: number, saved: FileRecord, fd: number, directFd: number): OpenFile {
    const { inodes, budget } = this.share
    const slot = inodes.slotOf(nodeid)
    if (slot === 0) return new OpenFile(fd, directFd, budget, nodeid, hostFileSystemAt(fd), saved)
    // What the guest has in its page cache is not known here.
    inodes.dirty.filled(slot)
    inodes.versions.movedOpen(slot, saved.isWritable)
    return this.hold(slot, fd, directFd, saved)
  }

  /** Prepares an open with O_TRUNC, which removes more than the contents of a file. */
  private beforeEmptying(request: Request, slot: number, openFlags: number): void {
    const { inodes, privileges, agreed } = this.share
    const kill = agreed.killsPrivileges && (openFlags & FUSE_OPEN_KILL_SUIDGID) !== 0
    if (!kill && !privileges.followsChanges) return
    const fd = inodes.fdOf(slot)
    if (fd >= 0) privileges.dropBeforeChange(fd, kill, request.gid)
  }
}

/** The result of an open that failed with `error`. An open that a lease blocks is tried again. */
export function postponedByLease(error: number): number {
  return error === -EAGAIN ? POSTPONED : error
}
