import {
  type Background,
  ENOSYS,
  type FileSystem,
  FUSE_ROOT_ID,
  HandleTable,
  type InitAgreement,
  type Introspection,
  type Operation,
  type Request,
  Statx,
  sooner,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { Agreed } from './agreed.js'
import { AttributeOperations } from './attributes.js'
import { openPath } from './descriptors.js'
import { AsyncIo } from './files/async-io.js'
import { DataOperations } from './files/data.js'
import { DirectoryOperations } from './files/directories.js'
import { FileCreation } from './files/file-creation.js'
import { FileOpener } from './files/file-opener.js'
import { FileOperations } from './files/files.js'
import type { Handles } from './files/handles.js'
import { IoctlOperations } from './files/ioctls.js'
import { Leftovers } from './files/leftovers.js'
import type { OpenDirectory } from './files/open-directory.js'
import type { OpenFile } from './files/open-file.js'
import { copierCount } from './files/shared-copies.js'
import { HostIntrospection } from './host-introspection.js'
import type { MountFds } from './inodes/device-numbers.js'
import { ExportOperations } from './inodes/export.js'
import { FdBudget } from './inodes/fd-budget.js'
import { FileHandles } from './inodes/file-handles.js'
import { HandleLife, HostFileSystems, handleLifeAt } from './inodes/host-file-system.js'
import { HostPaths } from './inodes/host-paths.js'
import { InodeFds } from './inodes/inode-fds.js'
import { InodeFinder } from './inodes/inode-finder.js'
import { InodeTable } from './inodes/inode-table.js'
import { LastPlaces } from './inodes/last-places.js'
import { RemovedByHost } from './inodes/removed-by-host.js'
import { STATX_MASK } from './inodes/statx.js'
import { OwnSpace } from './inodes/table-space.js'
import { LockOperations, type LocksReport } from './locks/locks.js'
import { MemoryAccount, type MemoryReport } from './memory-account.js'
import { NameOpener } from './names/name-opener.js'
import { NameOperations } from './names/names.js'
import { Caller } from './owners/caller.js'
import { Identities } from './owners/identities.js'
import { Privileges } from './owners/privileges.js'
import type { PassthroughOptions } from './passthrough-options.js'
import { QuotaOperations } from './quota/quota-operations.js'
import { Replies } from './replies.js'
import { SharedDirectories } from './shared/shared-directories.js'
import { SharedFiles } from './shared/shared-files.js'
import { type SharedPlace, SharedSpace } from './shared/shared-space.js'
import { SLOT_LIMIT } from './shared/table-memory.js'
import { HandedState, quotaSections } from './state/handed-state.js'
import { LoadedState } from './state/loaded-state.js'
import { PreparedNames } from './state/prepared-names.js'
import { SavedState } from './state/saved-state.js'
import { TakenState } from './state/taken-state.js'
import { SecurityLabels } from './xattrs/security-labels.js'
import { XattrNames } from './xattrs/xattr-names.js'
import { hostKeeps, XattrOperations } from './xattrs/xattrs.js'

/** Reports and actions of a share for its operator. */
export interface ShareReports {
  /** Locks that are held or waited for. */
  locks(): LocksReport
  /** Ends the wait for one lock (by its number in the report) or for all. Returns the count. */
  releaseLocks(id: number | undefined): number
  /** Memory that the guest makes the share hold. */
  memory(): MemoryReport
  /** The number of inodes, open files and descriptors that the guest holds. */
  use(): ShareUse
}

/** The resources that a guest makes its share hold, and their limits. */
export interface ShareUse {
  readonly inodes: number
  readonly inodeLimit: number
  readonly files: number
  readonly directories: number
  readonly descriptors: number
  readonly descriptorLimit: number
  readonly lockWaiters: number
}

/**
 * Serves a host directory. Make and use it on one thread, which has its own umask and working directory. Throws if the
 * directory cannot be opened.
 */
export class PassthroughFileSystem implements FileSystem {
  /** O_PATH on the shared directory, as long as this is not closed. */
  readonly rootFd: number
  private readonly parts: ReturnType<typeof partsOf>
  private readonly names: NameOperations
  private readonly attributes: AttributeOperations
  private readonly fileOpener: FileOpener
  private readonly files: FileOperations
  private readonly creation: FileCreation
  private readonly data: DataOperations
  private readonly directories: DirectoryOperations
  private readonly ioctls: IoctlOperations
  private readonly locks: LockOperations
  private readonly xattrs: XattrOperations
  /** True for extended attributes if they are served, and for POSIX ACLs if the host supports them. */
  readonly keeps: { readonly xattrs: boolean; readonly acls: boolean }
  readonly findsItself = true
  readonly background: Background
  readonly introspection: Introspection
  readonly reports: ShareReports
  /** Undefined if what the tree holds is not counted. */
  readonly quota: QuotaOperations | undefined

  /** This thread's way to tables that threads share. Undefined if one thread serves the share. */
  readonly space: SharedSpace | undefined

  /** `place`: that of one of the threads that serve the share together. */
  constructor(asked: PassthroughOptions, place?: SharedPlace) {
    const inodeLimit = place === undefined ? asked.inodeLimit : Math.min(asked.inodeLimit, SLOT_LIMIT)
    const options = { ...asked, inodeLimit }
    this.rootFd = openPath(options.directory)
    this.space = place && new SharedSpace(place, options.fdLimit)
    const parts = partsOf(options, this.rootFd, this.space)
    this.parts = parts
    this.locks = parts.locks
    this.names = new NameOperations(parts, new ExportOperations(parts))
    this.attributes = new AttributeOperations(parts)
    this.fileOpener = new FileOpener(parts)
    this.files = new FileOperations(parts, this.fileOpener)
    this.creation = new FileCreation(parts, this.fileOpener)
    this.data = new DataOperations(parts)
    this.directories = new DirectoryOperations(parts)
    this.ioctls = new IoctlOperations(parts)
    this.xattrs = new XattrOperations(parts)
    this.background = backgroundOf(parts, this.space)
    this.introspection = new HostIntrospection(parts.inodes, parts.paths, parts.files)
    const { locks, memory, inodes, files, directories, budget } = parts
    this.reports = {
      locks: () => locks.report(),
      releaseLocks: (id) => locks.cancel(id),
      memory: () => memory.report(),
      use: () => ({
        inodes: inodes.count,
        inodeLimit: options.inodeLimit,
        files: files.count,
        directories: directories.count,
        descriptors: budget.used,
        descriptorLimit: budget.limit,
        lockWaiters: locks.waitingCount,
      }),
    }
    const host = hostKeeps(this.rootFd)
    this.keeps = { xattrs: options.xattr && host.xattrs, acls: options.xattr && host.acls }
    if (this.keeps.xattrs) this.serveXattrs()
    if (options.quota !== undefined) {
      this.quota = new QuotaOperations(parts, options.quota, this.rootFd, options.isCounted)
      this.quota.wrap(this)
    }
  }

  init(agreement: InitAgreement): void {
    const { agreed, inodes, labels, caller } = this.parts
    agreed.begin(agreement)
    inodes.begin(agreement)
    labels.begin(agreement)
    caller.begin(agreement)
    this.xattrs.begin(agreement)
    if (this.servesFirst) this.openRoot()
    else this.lookAgain()
  }

  /** True for the thread that begins and ends sessions. */
  private get servesFirst(): boolean {
    return this.space === undefined || this.space.thread === 0
  }

  /** Forgets what this thread has seen of an earlier session. */
  private lookAgain(): void {
    const { inodes, hosts, files, directories } = this.parts
    inodes.lookAgain()
    hosts.clear()
    if (files instanceof SharedFiles) files.lookAgain()
    if (directories instanceof SharedDirectories) directories.lookAgain()
  }

  /** The sections of the present session's inodes, handles and locks, for another device. */
  savedSections(): Iterable<Iterable<Uint8Array>> {
    this.parts.prepared.end()
    return new SavedState(this.parts, this.rootFd, this.parts.options.migration).sections()
  }

  /** Does from now on what `savedSections` needs and the guest need not wait for. */
  prepareState(): void {
    const { mode, confirmPaths, verifyHandles } = this.parts.options.migration
    // Unless files are verified at the destination, what is mounted over one from now on must be noticed here.
    if (mode === 'find-paths' && !confirmPaths && verifyHandles) this.parts.prepared.begin()
  }

  dropPreparations(): void {
    this.parts.prepared.drop()
  }

  /**
   * The sections of the present session for another process of this host. `pass` is called with each descriptor that it
   * needs; this file system keeps them.
   */
  handedSections(pass: (fd: number) => void): Iterable<Iterable<Uint8Array>> {
    return new HandedState(this.parts, pass).sections()
  }

  /** The sections of what is counted, for the same process, with or without a session. They come last. */
  handedQuota(): Iterable<Iterable<Uint8Array>> {
    return quotaSections(this.quota)
  }

  /** Passes the descriptor of the shared directory, which the other process takes before its session begins. */
  handRoot(pass: (fd: number) => void): void {
    pass(this.rootFd)
  }

  /** Takes over what another process hands, whose descriptors `takeFd` returns. */
  takeState(takeFd: () => number): TakenState {
    return new TakenState(this.parts, this.fileOpener, this.rootFd, this.quota, takeFd)
  }

  /** Takes such sections over, in a session that has just begun. */
  loadState(): LoadedState {
    return new LoadedState(this.parts, this.fileOpener, this.rootFd, this.parts.options.migration)
  }

  /** Gives the directory up, after `destroy`. No request may follow. */
  close(): void {
    this.parts.async.close()
    native.close(this.rootFd)
  }

  destroy(): void {
    const { async, locks, files, directories, leftovers, inodes, prepared } = this.parts
    async.drain()
    if (!this.servesFirst) {
      locks.clear()
      leftovers.clear()
      this.space?.forgetSlots()
      this.lookAgain()
      return
    }
    prepared.drop()
    locks.clear()
    files.clear((file) => file.release())
    leftovers.clear()
    directories.clear((directory) => directory.release())
    inodes.clear()
    this.space?.forgetSlots()
  }

  /** Puts the root into an empty table. */
  private openRoot(): void {
    const { inodes } = this.parts
    const st = new Int32Array(Statx.WORDS)
    const fd = native.dup(this.rootFd)
    const result = fd < 0 ? fd : native.fstatx(fd, STATX_MASK, st)
    if (result < 0) throw new Error(`the shared directory is gone: errno ${-result}`)
    const slot = inodes.add(fd, st)
    if (slot !== FUSE_ROOT_ID) throw new Error(`the root is inode ${slot} of a session`)
  }

  setxattr?: Operation
  getxattr?: Operation
  listxattr?: Operation
  removexattr?: Operation

  /** Without these operations the guest gets ENOSYS once and does not ask again. */
  private serveXattrs(): void {
    this.setxattr = (request) => this.xattrs.setxattr(request)
    this.getxattr = (request) => this.xattrs.getxattr(request)
    this.listxattr = (request) => this.xattrs.listxattr(request)
    this.removexattr = (request) => this.xattrs.removexattr(request)
  }

  lookup = (request: Request) => this.names.lookup(request)
  forget = (request: Request) => this.names.forget(request)
  batchForget = (request: Request) => this.names.batchForget(request)
  readlink = (request: Request) => this.names.readlink(request)
  symlink = (request: Request) => this.names.symlink(request)
  mknod = (request: Request) => this.names.mknod(request)
  mkdir = (request: Request) => this.names.mkdir(request)
  unlink = (request: Request) => this.names.unlink(request)
  rmdir = (request: Request) => this.names.rmdir(request)
  rename = (request: Request) => this.names.rename(request)
  rename2 = (request: Request) => this.names.rename2(request)
  link = (request: Request) => this.names.link(request)

  getattr = (request: Request) => this.attributes.getattr(request)
  setattr = (request: Request) => this.attributes.setattr(request)
  statx = (request: Request) => this.attributes.statx(request)
  access = (request: Request) => this.attributes.access(request)
  statfs = (request: Request) => this.attributes.statfs(request)

  open = (request: Request) => this.files.open(request)
  create = (request: Request) => this.creation.create(request)
  tmpfile = (request: Request) => this.creation.tmpfile(request)
  read = (request: Request) => this.data.read(request)
  write = (request: Request) => this.data.write(request)
  flush = (request: Request) => this.files.flush(request)
  release = (request: Request) => this.files.release(request)
  fsync = (request: Request) => this.data.fsync(request)
  fallocate = (request: Request) => this.data.fallocate(request)
  lseek = (request: Request) => this.data.lseek(request)
  copyFileRange = (request: Request) => this.data.copyFileRange(request)
  copyFileRange64 = (request: Request) => this.data.copyFileRange64(request)
  ioctl = (request: Request) => this.ioctls.ioctl(request)
  // The first thread alone serves a guest that has agreed on locks. Another thread would keep them from the first one.
  getlk = (request: Request) => (this.servesFirst ? this.locks.getlk(request) : -ENOSYS)
  setlk = (request: Request) => (this.servesFirst ? this.locks.setlk(request) : -ENOSYS)
  setlkw = (request: Request) => (this.servesFirst ? this.locks.setlkw(request) : -ENOSYS)
  syncfs = (request: Request) => this.files.syncfs(request)

  opendir = (request: Request) => this.directories.opendir(request)
  readdir = (request: Request) => this.directories.readdir(request)
  readdirplus = (request: Request) => this.directories.readdirplus(request)
  releasedir = (request: Request) => this.directories.releasedir(request)
  fsyncdir = (request: Request) => this.directories.fsyncdir(request)
}

/** Makes the parts of one share. Each operation class takes the parts that it names. */
function partsOf(options: PassthroughOptions, rootFd: number, shared: SharedSpace | undefined) {
  const { procFd, fdLimit, rules } = options
  const space = shared ?? new OwnSpace()
  const budget = shared?.budget ?? new FdBudget(fdLimit)
  const outOfFds = () =>
    options.report('out of file descriptors: the guest gets ENFILE', { limit: budget.limit })
  const memory = new MemoryAccount()
  const hosts = new HostFileSystems(space.devices)
  const places = new LastPlaces(
    rootFd,
    (fd) => paths.nameBelow(fd),
    (fd) => paths.hasLostName(fd),
    memory,
  )
  const handles = handlesOf(options, rootFd, space.devices.mounts)
  const inodeFds = new InodeFds(budget, handles, hosts, places, outOfFds, space)
  const opener = new NameOpener(rootFd)
  const inodes = new InodeTable(inodeFds, space)
  const paths = new HostPaths(procFd, rootFd, inodes)
  const agreed = new Agreed(rules)
  const identities = new Identities(options.translateUid, options.translateGid)
  const xattrNames = new XattrNames(options.xattrMap)
  const capability = xattrNames.otherNameOf('security.capability')
  const leftovers = new Leftovers(memory)
  const files: Handles<OpenFile> =
    shared === undefined ? new HandleTable() : new SharedFiles(shared, inodes, hosts)
  const directories: Handles<OpenDirectory> =
    shared === undefined ? new HandleTable() : new SharedDirectories(shared, leftovers)
  const removed = new RemovedByHost({ inodes, hosts, options }, space)
  const prepared = new PreparedNames({ inodes, hosts, procFd })
  return {
    removed,
    prepared,
    options,
    procFd,
    rules,
    budget,
    inodes,
    inodeFds,
    opener,
    paths,
    agreed,
    identities,
    xattrNames,
    files,
    directories,
    leftovers,
    hosts,
    finder: new InodeFinder(inodes, hosts, opener, budget, options, paths),
    caller: new Caller(identities, options.report),
    privileges: new Privileges(
      procFd,
      identities,
      capability,
      options.xattr && options.xattrMap === undefined,
    ),
    labels: new SecurityLabels(inodes, xattrNames),
    replies: new Replies({ inodes, paths, identities, rules, agreed }),
    memory,
    locks: new LockOperations({ files, paths, memory, options }),
    async: new AsyncIo(copierCount(options.threadPoolSize)),
  }
}

/** Throws if file handles are mandatory and inodes cannot be opened by them. */
function handlesOf(
  { fileHandles, directory, procFd }: PassthroughOptions,
  rootFd: number,
  mounts: MountFds,
): FileHandles | undefined {
  if (fileHandles === 'never') return undefined
  const lasts = fileHandles !== 'mandatory' || handleLifeAt(rootFd) !== HandleLife.AsCache
  if (lasts && FileHandles.usable(procFd, rootFd)) return new FileHandles(procFd, mounts)
  if (fileHandles === 'prefer') return undefined
  throw new Error(
    `${directory}: inodes cannot be opened by file handles, which --inode-file-handles mandatory asks for`,
  )
}

/** Slow system calls, requests that wait for locks, and preparations for a migration. */
function backgroundOf(
  { async, locks, prepared }: ReturnType<typeof partsOf>,
  threads: SharedSpace | undefined,
): Background {
  return {
    fds: async.engine.fds,
    progress() {
      prepared.progress()
      const locked = locks.progress()
      return async.progress() || locked
    },
    nextDueMs() {
      const dueMs = sooner(sooner(locks.nextDueMs(), async.nextDueMs()), prepared.nextDueMs())
      return threads === undefined ? dueMs : sooner(dueMs, threads.nextDueMs())
    },
    engine: async.engine.kind,
    get isFull() {
      return async.isFull
    },
    get isWorking() {
      return async.isWorking
    },
    drain() {
      locks.giveUpWaiting()
      async.drain()
    },
    hurry() {
      locks.giveUpWaiting()
      return async.hurry()
    },
    settle: (untilMs) => async.settle(untilMs),
    forget: () => locks.forgetWaiting(),
  }
}
