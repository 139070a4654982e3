import type { Background, FileSystem, Introspection, Operation } from '../virtio-fs/file-system.js'
import type { InitAgreement } from '../virtio-fs/negotiation.js'
import type { Request } from '../virtio-fs/request.js'
import { AttributeOperations } from './attributes.js'
import { DataOperations } from './files/data.js'
import { DirectoryOperations } from './files/directories.js'
import { FileOperations } from './files/files.js'
import { IoctlOperations } from './files/ioctls.js'
import { NameOperations } from './names/names.js'
import { Share, type ShareOptions } from './share.js'
import { hostKeeps, XattrOperations } from './xattrs/xattrs.js'

/**
 * A directory of the host, served as it is. To be made and used on one thread, whose umask and working directory are its
 * own. Throws when the directory cannot be opened.
 */
export class PassthroughFileSystem implements FileSystem {
  private readonly share: Share
  private readonly names: NameOperations
  private readonly attributes: AttributeOperations
  private readonly files: FileOperations
  private readonly data: DataOperations
  private readonly directories: DirectoryOperations
  private readonly ioctls: IoctlOperations
  private readonly xattrs: XattrOperations
  /** Whether extended attributes are served, and POSIX ACLs could be. */
  readonly keeps: { readonly xattrs: boolean; readonly acls: boolean }
  readonly background: Background
  readonly introspection: Introspection

  constructor(options: ShareOptions) {
    this.share = new Share(options)
    this.names = new NameOperations(this.share)
    this.attributes = new AttributeOperations(this.share)
    this.files = new FileOperations(this.share)
    this.data = new DataOperations(this.share)
    this.directories = new DirectoryOperations(this.share)
    this.ioctls = new IoctlOperations(this.share)
    this.xattrs = new XattrOperations(this.share)
    this.background = backgroundOf(this.share)
    this.introspection = this.share
    const host = hostKeeps(this.share.rootFd)
    this.keeps = { xattrs: options.xattr && host.xattrs, acls: options.xattr && host.acls }
    if (this.keeps.xattrs) this.serveXattrs()
  }

  init(agreement: InitAgreement): void {
    this.share.begin(agreement)
    this.xattrs.begin(agreement)
  }

  destroy(): void {
    this.share.closeAll()
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
  getlk = (request: Request) => this.share.locks.getlk(request)
  setlk = (request: Request) => this.share.locks.setlk(request)
  setlkw = (request: Request) => this.share.locks.setlkw(request)
  syncfs = (request: Request) => this.files.syncfs(request)

  opendir = (request: Request) => this.directories.opendir(request)
  readdir = (request: Request) => this.directories.readdir(request)
  readdirplus = (request: Request) => this.directories.readdirplus(request)
  releasedir = (request: Request) => this.directories.releasedir(request)
  fsyncdir = (request: Request) => this.directories.fsyncdir(request)
}

/** System calls that take long, and locks that are waited for. */
function backgroundOf({ async, locks }: Share): Background {
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
