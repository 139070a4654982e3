import { EROFS } from './errno.js'
import type { FileSystem, Operation } from './file-system.js'
import { OpenFlag } from './open-flags.js'
import { ARGS, type Request } from './request.js'
import { AccessIn } from './wire/attr.js'
import { IoctlIn } from './wire/ioctl.js'
import { OpenIn } from './wire/open.js'

const { O_ACCMODE, O_TRUNC } = OpenFlag
const W_OK = 2
/** _IOC_WRITE in a command's number: the file system gets the argument. */
const IOC_WRITE = 1 << 30

const refuse: Operation = () => -EROFS

/** Operations that change the file system with any arguments. */
const changing = [
  'setattr',
  'symlink',
  'mknod',
  'mkdir',
  'unlink',
  'rmdir',
  'rename',
  'rename2',
  'link',
  'write',
  'create',
  'fallocate',
  'copyFileRange',
  'copyFileRange64',
  'setxattr',
  'removexattr',
  'tmpfile',
] as const

/** Returns the same file system without changes: each attempt to change it gets EROFS. */
export function readOnly(fileSystem: FileSystem): FileSystem {
  const view: FileSystem = Object.create(fileSystem)
  for (const name of changing) if (fileSystem[name] !== undefined) view[name] = refuse
  const { open, access, ioctl } = fileSystem
  if (open !== undefined) {
    view.open = (request: Request) => {
      const flags = OpenIn.flags(request.args, ARGS)
      return (flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0 ? -EROFS : open.call(fileSystem, request)
    }
  }
  if (access !== undefined) {
    view.access = (request: Request) =>
      (AccessIn.mask(request.args, ARGS) & W_OK) !== 0 ? -EROFS : access.call(fileSystem, request)
  }
  if (ioctl !== undefined) {
    view.ioctl = (request: Request) =>
      (IoctlIn.command(request.args, ARGS) & IOC_WRITE) !== 0 ? -EROFS : ioctl.call(fileSystem, request)
  }
  return view
}
