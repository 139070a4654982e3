import type { Background, FileSystem } from '../fuse/file-system.js'
import type { Request } from '../fuse/request.js'
import { AttributeOperations } from './attributes.js'
import { DataOperations } from './data.js'
import { DirectoryOperations } from './directories.js'
import { FileOperations } from './files.js'
import { NameOperations } from './names.js'
import { Share, type ShareOptions } from './share.js'

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
  readonly background: Background

  constructor(options: ShareOptions) {
    this.share = new Share(options)
    this.names = new NameOperations(this.share)
    this.attributes = new AttributeOperations(this.share)
    this.files = new FileOperations(this.share)
    this.data = new DataOperations(this.share)
    this.background = this.share.async
    this.directories = new DirectoryOperations(this.share)
  }

  init(): void {
    this.share.openRoot()
  }

  destroy(): void {
    this.share.closeAll()
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
  access = (request: Request) => this.attributes.access(request)
  statfs = (request: Request) => this.attributes.statfs(request)

  open = (request: Request) => this.files.open(request)
  create = (request: Request) => this.files.create(request)
  read = (request: Request) => this.data.read(request)
  write = (request: Request) => this.data.write(request)
  flush = (request: Request) => this.files.flush(request)
  release = (request: Request) => this.files.release(request)
  fsync = (request: Request) => this.data.fsync(request)
  fallocate = (request: Request) => this.data.fallocate(request)
  lseek = (request: Request) => this.data.lseek(request)
  copyFileRange = (request: Request) => this.data.copyFileRange(request)
  syncfs = (request: Request) => this.files.syncfs(request)

  opendir = (request: Request) => this.directories.opendir(request)
  readdir = (request: Request) => this.directories.readdir(request)
  readdirplus = (request: Request) => this.directories.readdirplus(request)
  releasedir = (request: Request) => this.directories.releasedir(request)
  fsyncdir = (request: Request) => this.directories.fsyncdir(request)
}
