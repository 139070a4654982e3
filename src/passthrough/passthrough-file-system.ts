import {
  type Background,
  type FileSystem,
  FUSE_ROOT_ID,
  HandleTable,
  type InitAgreement,
  type Introspection,
  type Operation,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { Agreed } from './agreed.js'
import { AttributeOperations } from './attributes.js'
import { openPath } from './descriptors.js'
import { AsyncIo } from './files/async-io.js'
import { DataOperations } from './files/data.js'
import { DirectoryOperations } from './files/directories.js'
import { FileOperations } from './files/files.js'
import { IoctlOperations } from './files/ioctls.js'
import { Leftovers } from './files/leftovers.js'
import type { OpenDirectory } from './files/open-directory.js'
import type { OpenFile } from './files/open-file.js'
import { HostIntrospection } from './host-introspection.js'
import { ExportOperations } from './inodes/export.js'
import { FdBudget } from './inodes/fd-budget.js'
import { FileHandles } from './inodes/file-handles.js'
import { HandleLife, HostFileSystems, handleLifeAt } from './inodes/host-file-system.js'
import { HostPaths } from './inodes/host-paths.js'
import { InodeFds } from './inodes/inode-fds.js'
import { InodeFinder } from './inodes/inode-finder.js'
import { InodeTable } from './inodes/inode-table.js'
import { LastPlaces } from './inodes/last-places.js'
import { STATX_MASK } from './inodes/statx.js'
import { LockOperations, type LocksReport } from './locks/locks.js'
import { MemoryAccount, type MemoryReport } from './memory-account.js'
import { NameOpener } from './names/name-opener.js'
import { NameOperations } from './names/names.js'
import { Caller } from './owners/caller.js'
import { Identities } from './owners/identities.js'
import { Privileges } from './owners/privileges.js'
import type { PassthroughOptions } from './passthrough-options.js'
import { Replies } from './replies.js'
import { SecurityLabels } from './xattrs/security-labels.js'
import { XattrNames } from './xattrs/xattr-names.js'
import { hostKeeps, XattrOperations } from './xattrs/xattrs.js'

/** What can be asked of a share beside what its guest asks, and done to it. */
export interface ShareReports {
  /** Locks that are held and waited for. */
  locks(): LocksReport
  /** Ends the wait for one lock, by its number in the report, or for all. Returns how many. */
  releaseLocks(id: number | undefined): number
  /** What the guest makes the share remember. */
  memory(): MemoryReport
}

/** Of all descriptors, inodes that are not in use keep at most one in so many. */
const INODE_FD_SHARE = 2

/**
 * A directory of the host, served as it is. To be made and used on one thread, whose umask and working directory are its
 * own. Throws when the directory cannot be opened.
 */
export class PassthroughFileSystem implements FileSystem {
  private readonly rootFd: number
  private readonly parts: ReturnType<typeof partsOf>
  private readonly names: NameOperations
  private readonly attributes: AttributeOperations
  private readonly files: FileOperations
  private readonly data: DataOperations
  private readonly directories: DirectoryOperations
  private readonly ioctls: IoctlOperations
  private readonly locks: LockOperations
  private readonly xattrs: XattrOperations
  /** True of extended attributes if they are served, and of POSIX ACLs if they could be. */
  readonly keeps: { readonly xattrs: boolean; readonly acls: boolean }
  readonly background: Background
  readonly introspection: Introspection
  readonly reports: ShareReports

  constructor(options: PassthroughOptions) {
    this.rootFd = openPath(options.directory)
    const parts = partsOf(options, this.rootFd)
    this.parts = parts
    this.locks = parts.locks
    this.names = new NameOperations(parts, new ExportOperations(parts))
    this.attributes = new AttributeOperations(parts)
    this.files = new FileOperations(parts)
    this.data = new DataOperations(parts)
    this.directories = new DirectoryOperations(parts)
    this.ioctls = new IoctlOperations(parts)
    this.xattrs = new XattrOperations(parts)
    this.background = backgroundOf(parts.async, parts.locks)
    this.introspection = new HostIntrospection(parts.inodes, parts.paths, parts.files)
    const { locks, memory } = parts
    this.reports = {
      locks: () => locks.report(),
      releaseLocks: (id) => locks.cancel(id),
      memory: () => memory.report(),
    }
    const host = hostKeeps(this.rootFd)
    this.keeps = { xattrs: options.xattr && host.xattrs, acls: options.xattr && host.acls }
    if (this.keeps.xattrs) this.serveXattrs()
  }

  init(agreement: InitAgreement): void {
    const { agreed, inodes, labels, caller } = this.parts
    agreed.begin(agreement)
    inodes.begin(agreement)
    labels.begin(agreement)
    caller.begin(agreement)
    this.xattrs.begin(agreement)
    this.openRoot()
  }

  destroy(): void {
    const { async, locks, files, directories, leftovers, inodes } = this.parts
    async.drain()
    locks.clear()
    files.clear((file) => file.release())
    leftovers.clear()
    directories.clear((directory) => directory.release())
    inodes.clear()
  }

  /** The table holds the root alone. */
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

  /** Without them the guest is answered ENOSYS, once, and asks no more. */
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
  create = (request: Request) => this.files.create(request)
  tmpfile = (request: Request) => this.files.tmpfile(request)
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
  getlk = (request: Request) => this.locks.getlk(request)
  setlk = (request: Request) => this.locks.setlk(request)
  setlkw = (request: Request) => this.locks.setlkw(request)
  syncfs = (request: Request) => this.files.syncfs(request)

  opendir = (request: Request) => this.directories.opendir(request)
  readdir = (request: Request) => this.directories.readdir(request)
  readdirplus = (request: Request) => this.directories.readdirplus(request)
  releasedir = (request: Request) => this.directories.releasedir(request)
  fsyncdir = (request: Request) => this.directories.fsyncdir(request)
}

/** What the operations of one share work on: each takes of it what it names. */
function partsOf(options: PassthroughOptions, rootFd: number) {
  const { procFd, fdLimit, rules } = options
  const budget = new FdBudget(fdLimit)
  const outOfFds = () => options.report('out of file descriptors: the guest gets ENFILE', { limit: fdLimit })
  const memory = new MemoryAccount()
  const hosts = new HostFileSystems()
  const places = new LastPlaces(rootFd, (fd) => paths.nameBelow(fd), memory)
  const handles = handlesOf(options, rootFd)
  const inodeFds = new InodeFds(budget, fdLimit / INODE_FD_SHARE, handles, hosts, places, outOfFds)
  const inodes = new InodeTable(inodeFds)
  const opener = new NameOpener(rootFd)
  const paths = new HostPaths(procFd, rootFd, inodes)
  const agreed = new Agreed(rules)
  const identities = new Identities(options.translateUid, options.translateGid)
  const xattrNames = new XattrNames(options.xattrMap)
  const capability = xattrNames.otherNameOf('security.capability')
  const files = new HandleTable<OpenFile>()
  return {
    options,
    procFd,
    rules,
    budget,
    inodes,
    opener,
    paths,
    agreed,
    identities,
    xattrNames,
    files,
    directories: new HandleTable<OpenDirectory>(),
    leftovers: new Leftovers(memory),
    hosts,
    finder: new InodeFinder(inodes, opener, budget, options),
    caller: new Caller(identities),
    privileges: new Privileges(procFd, identities, capability),
    labels: new SecurityLabels(inodes, xattrNames),
    replies: new Replies({ inodes, paths, identities, rules, agreed }),
    memory,
    locks: new LockOperations({ files, paths, memory, options }),
    async: new AsyncIo(),
  }
}

/** Throws when inodes are to be opened by file handles and cannot be. */
function handlesOf({ fileHandles, directory, procFd }: PassthroughOptions, rootFd: number) {
  if (fileHandles === 'never') return undefined
  const lasts = fileHandles !== 'mandatory' || handleLifeAt(rootFd) !== HandleLife.AsCache
  if (lasts && FileHandles.usable(procFd, rootFd)) return new FileHandles(procFd)
  if (fileHandles === 'prefer') return undefined
  throw new Error(
    `${directory}: inodes cannot be opened by file handles, which --inode-file-handles mandatory asks for`,
  )
}

/** System calls that take long, and locks that are waited for. */
function backgroundOf(async: AsyncIo, locks: LockOperations): Background {
  return {
    fds: async.fds,
    progress() {
      const locked = locks.progress()
      return async.progress() || locked
    },
    nextDueMs() {
      const lockMs = locks.nextDueMs()
      const asyncMs = async.nextDueMs()
      return lockMs < 0 || asyncMs < 0 ? Math.max(lockMs, asyncMs) : Math.min(lockMs, asyncMs)
    },
    engine: async.hasUring ? 'io_uring' : 'threads',
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
  }
}
