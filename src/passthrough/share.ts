import * as native from 'virtiofsd-ts-native'
import type { OpenRules } from '../io-mode/open-rules.js'
import { InitFlag } from '../virtio-fs/abi.js'
import { EMFILE, ENFILE, EOPNOTSUPP } from '../virtio-fs/errno.js'
import { securityContext } from '../virtio-fs/extensions.js'
import type { Introspection } from '../virtio-fs/file-system.js'
import { has, type InitAgreement } from '../virtio-fs/negotiation.js'
import type { Request } from '../virtio-fs/request.js'
import { AsyncIo } from './files/async-io.js'
import { HandleTable } from './files/handle-table.js'
import type { OpenDirectory } from './files/open-directory.js'
import type { OpenFile } from './files/open-file.js'
import { FdBudget } from './inodes/fd-budget.js'
import type { FileHandleUse } from './inodes/file-handle-use.js'
import { FileHandles } from './inodes/file-handles.js'
import { type HostFileSystem, hostFileSystemOf } from './inodes/host-file-system.js'
import { HostPaths } from './inodes/host-paths.js'
import { InodeFds } from './inodes/inode-fds.js'
import { InodeTable } from './inodes/inode-table.js'
import { STATX_MASK, STATX_WORDS, statxIsSame, statxSize } from './inodes/statx.js'
import { LockOperations } from './locks/locks.js'
import { NameOpener } from './names/name-opener.js'
import { Caller } from './owners/caller.js'
import { Identities } from './owners/identities.js'
import { Privileges } from './owners/privileges.js'
import { Replies } from './replies.js'
import type { XattrRule } from './xattrs/xattr-map.js'
import { XattrNames } from './xattrs/xattr-names.js'

/** Of all descriptors, inodes that are not in use keep at most one in so many. */
const INODE_FD_SHARE = 2

const EMPTY_NAME = new Uint8Array(1)

const { O_CLOEXEC, O_DIRECTORY, O_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW } = native.constants

/** What a passthrough file system is told. */
export interface ShareOptions {
  /** The directory to serve. */
  readonly directory: string
  /** O_PATH on /proc/self/fd: how an O_PATH descriptor is opened for use. Stays the caller's. */
  readonly procFd: number
  readonly rules: OpenRules
  /** Keep the guest's O_DIRECT on the host's file. */
  readonly allowDirectIo: boolean
  /** Keep the guest's O_NOATIME on the host's file. */
  readonly preserveNoatime: boolean
  readonly writeback: boolean
  /** Descriptors that this share may hold, of files and inodes together. */
  readonly fdLimit: number
  /** Inodes that the guest may hold at a time. */
  readonly inodeLimit: number
  readonly fileHandles: FileHandleUse
  /** Serve extended attributes where the host has them; under which names. Undefined: under their own. */
  readonly xattr: boolean
  readonly xattrMap: readonly XattrRule[] | undefined
  /** Specifications as of `--translate-uid` and `--translate-gid`. */
  readonly translateUid: readonly string[]
  readonly translateGid: readonly string[]
  /** Tells of what the guest has caused; `kind` comes from a fixed set. */
  report(kind: string, fields: object): void
}

/** What the operations of one share work on. Belongs to one thread. */
export class Share implements Introspection {
  readonly budget: FdBudget
  readonly inodes: InodeTable
  readonly files = new HandleTable<OpenFile>()
  readonly directories = new HandleTable<OpenDirectory>()
  readonly identities: Identities
  readonly caller: Caller
  readonly xattrNames: XattrNames
  readonly locks: LockOperations
  readonly replies: Replies
  readonly privileges: Privileges
  readonly async = new AsyncIo()
  readonly procFd: number
  readonly opener: NameOpener
  /** The last statx. */
  readonly st = new Int32Array(STATX_WORDS)
  private readonly otherSt = new Int32Array(STATX_WORDS)
  /** Whether the last inode looked at was new to the guest. New ones come in listings and walks, one after the other. */
  private expectsNew = false
  /** What was agreed on at INIT. */
  killsPrivileges = false
  keepsRecordLocks = false
  announcesSubmounts = false
  private takesContexts = false
  /** An open of a file that has not changed leaves the pages that the guest has of it. */
  keepsUnchanged = false
  readonly rootFd: number
  private readonly paths: HostPaths
  /** By the inode table's number of a device. */
  private readonly hosts: HostFileSystem[] = []

  /** Throws when the directory cannot be opened. */
  constructor(readonly options: ShareOptions) {
    this.procFd = options.procFd
    this.rootFd = openPath(options.directory)
    this.opener = new NameOpener(this.rootFd)
    this.paths = new HostPaths(this.procFd, this.rootFd)
    this.budget = new FdBudget(options.fdLimit)
    this.inodes = new InodeTable(
      new InodeFds(this.budget, options.fdLimit / INODE_FD_SHARE, this.makeHandles()),
    )
    this.identities = new Identities(options.translateUid, options.translateGid)
    this.caller = new Caller(this.identities)
    this.xattrNames = new XattrNames(options.xattrMap)
    const capability = this.xattrNames.otherNameOf('security.capability')
    this.privileges = new Privileges(this.procFd, this.identities, capability)
    this.locks = new LockOperations(this)
    this.replies = new Replies(this)
  }

  private makeHandles(): FileHandles | undefined {
    const { fileHandles, directory } = this.options
    if (fileHandles === 'never') return undefined
    if (FileHandles.usable(this.procFd, this.rootFd)) return new FileHandles(this.procFd)
    if (fileHandles === 'prefer') return undefined
    throw new Error(
      `${directory}: inodes cannot be opened by file handles, which --inode-file-handles mandatory asks for`,
    )
  }

  /** A session begins, with what was agreed on. */
  begin({ flags }: InitAgreement): void {
    this.keepsRecordLocks = has(flags, InitFlag.POSIX_LOCKS)
    this.killsPrivileges = has(flags, InitFlag.HANDLE_KILLPRIV_V2)
    this.announcesSubmounts = has(flags, InitFlag.SUBMOUNTS)
    // The guest has to drop pages itself when it hears of another mtime or size, and to believe what it hears.
    this.keepsUnchanged =
      this.options.rules.everKeepsUnchanged &&
      has(flags, InitFlag.AUTO_INVAL_DATA) &&
      !has(flags, InitFlag.WRITEBACK_CACHE)
    this.inodes.keepsGivenBack = has(flags, InitFlag.EXPORT_SUPPORT)
    this.takesContexts = has(flags, InitFlag.SECURITY_CTX)
    this.caller.appliesUmask = has(flags, InitFlag.DONT_MASK)
    this.openRoot()
  }

  /** The table holds the root alone. */
  private openRoot(): void {
    const fd = native.dup(this.rootFd)
    const result = fd < 0 ? fd : native.fstatx(fd, STATX_MASK, this.st)
    if (result < 0) throw new Error(`the shared directory is gone: errno ${-result}`)
    this.inodes.add(fd, this.st)
  }

  closeAll(): void {
    this.async.drain()
    this.locks.clear()
    this.files.clear((file) => file.release())
    this.directories.clear((directory) => directory.release())
    this.inodes.clear()
    this.hosts.length = 0
  }

  /**
   * Looks a name up: the slot of its inode with one more lookup counted, and its attributes in `st`. Negative errno
   * otherwise. `name` holds one component at byte `at`, NUL-terminated.
   */
  lookup(parent: number, name: Uint8Array, at: number): number {
    const { inodes, st } = this
    const parentFd = inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    // Asking first saves opening what the guest knows; it is a call too many for what it does not.
    if (!this.expectsNew || this.budget.left === 0) {
      const result = native.statx(parentFd, name, at, AT_SYMLINK_NOFOLLOW, STATX_MASK, st)
      if (result < 0) return result
      const known = inodes.find(st, parentFd, name, at)
      if (known !== 0) {
        inodes.ref(known)
        return known
      }
    }
    if (!this.makeRoom()) return -ENFILE
    const fd = this.opener.open(parentFd, name, at, O_PATH, 0)
    return fd < 0 ? descriptorError(fd) : this.adopt(fd)
  }

  /** The slot of what `fd`, an O_PATH descriptor that this takes over, stands for. Counts a lookup; fills `st`. */
  adopt(fd: number): number {
    // The name may stand for another file since it was looked at: what counts is what was opened.
    const result = native.fstatx(fd, STATX_MASK, this.st)
    if (result < 0) {
      native.close(fd)
      return result
    }
    return this.adoptStated(fd)
  }

  /**
   * The same for a file just made as a name in `parentFd`, which `fd` holds open and stays the caller's. The name is the
   * quick way to it, unless the host has put something else there meanwhile.
   */
  adoptMade(fd: number, parentFd: number, name: Uint8Array, at: number): number {
    const named = this.opener.open(parentFd, name, at, O_PATH, 0)
    if (named >= 0 && this.isSame(fd, named)) return this.adoptStated(named)
    if (named >= 0) native.close(named)
    const pathFd = native.inodeOpen(this.procFd, fd, O_PATH)
    return pathFd < 0 ? descriptorError(pathFd) : this.adopt(pathFd)
  }

  /** Whether two descriptors stand for the same file. Fills `st`. */
  private isSame(fd: number, other: number): boolean {
    const { st, otherSt } = this
    return (
      native.fstatx(other, STATX_MASK, otherSt) === 0 &&
      native.fstatx(fd, STATX_MASK, st) === 0 &&
      statxIsSame(st, otherSt)
    )
  }

  private adoptStated(fd: number): number {
    const { inodes, st } = this
    const known = inodes.find(st, fd, EMPTY_NAME, 0)
    this.expectsNew = known === 0
    const refused = known === 0 ? this.refusalOf(fd) : 0
    if (refused === 0 && known === 0) return inodes.add(fd, st)
    native.close(fd)
    if (refused < 0) return refused
    inodes.ref(known)
    return known
  }

  /** Why the guest cannot have one more inode, the one that `fd` stands for; 0 when it can. */
  private refusalOf(fd: number): number {
    const { inodeLimit, fileHandles } = this.options
    if (this.inodes.count >= inodeLimit && !this.inodes.dropOldest()) {
      this.options.report('out of inodes: the guest gets ENFILE', { limit: inodeLimit })
      return -ENFILE
    }
    return fileHandles === 'mandatory' && !FileHandles.exists(fd) ? -EOPNOTSUPP : 0
  }

  /** Whether one more descriptor may be opened. */
  makeRoom(): boolean {
    const room = this.inodes.fds.makeRoom()
    if (!room)
      this.options.report('out of file descriptors: the guest gets ENFILE', { limit: this.options.fdLimit })
    return room
  }

  /** The host's file system that an inode is on; `fd` is any descriptor of it. */
  hostOf(slot: number, fd: number): HostFileSystem {
    const device = this.inodes.deviceOf(slot)
    let host = this.hosts[device]
    if (host === undefined) {
      host = hostFileSystemOf(fd)
      this.hosts[device] = host
    }
    return host
  }

  /** Whether what `fd` stands for lies in the shared directory, or is it. */
  isInside(fd: number): boolean {
    return this.paths.below(fd) !== undefined
  }

  /** Gives a new inode the security context that came with it. 0 or a negative errno. */
  labelNew(request: Request, slot: number): number {
    if (!this.takesContexts) return 0
    const context = securityContext(request)
    if (context === undefined || typeof context === 'number') return context ?? 0
    const { nameAt, valueAt, valueBytes } = context
    const name = this.xattrNames.host(request.argBytes, nameAt)
    if (typeof name === 'number') return name
    const fd = this.inodes.fdOf(slot)
    return fd < 0
      ? fd
      : native.inodeSetxattr(fd, name.bytes, name.at, request.argBytes, valueAt, valueBytes, 0)
  }

  /** The path of an inode below the shared directory, "" for itself; undefined for one that has no name there now. */
  pathOfSlot(slot: number): string | undefined {
    const fd = this.inodes.fdOf(slot)
    return fd < 0 ? undefined : this.paths.below(fd)
  }

  pathOf(nodeid: number): string | undefined {
    const slot = this.inodes.slotOf(nodeid)
    return slot === 0 ? undefined : this.pathOfSlot(slot)
  }

  sizeOf(nodeid: number): number {
    const slot = this.inodes.slotOf(nodeid)
    return slot === 0 || this.stat(slot) < 0 ? -1 : statxSize(this.st)
  }

  openFlagsOf(handle: number): number {
    return this.files.get(handle)?.openFlags ?? 0
  }

  /** Fills `st` with the inode's attributes as they are now. 0 or a negative errno. */
  stat(slot: number): number {
    const fd = this.inodes.fdOf(slot)
    return fd < 0 ? fd : native.fstatx(fd, STATX_MASK, this.st)
  }
}

/** Running out of descriptors is the host's limit, not one of a guest process. */
export function descriptorError(error: number): number {
  return error === -EMFILE ? -ENFILE : error
}

/** O_PATH on a directory. Throws when it cannot be opened. */
export function openPath(path: string): number {
  const name = new TextEncoder().encode(`${path}\0`)
  const fd = native.openat(AT_FDCWD, name, 0, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
  if (fd < 0) throw new Error(`${path} cannot be opened: errno ${-fd}`)
  return fd
}
