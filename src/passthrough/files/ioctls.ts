import { createRequire } from 'node:module'
import type IoctlNapi from 'ioctl-napi'
import {
  ARGS,
  EBADF,
  EINVAL,
  EIO,
  ENOTTY,
  EOPNOTSUPP,
  EPERM,
  FUSE_IOCTL_DIR,
  IoctlIn,
  IoctlOut,
  type Request,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { codeOf } from '../../basics/errors.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { Handles } from './handles.js'
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  hostCommand,
  ioctlCommands,
} from './ioctl-commands.js'
import type { OpenDirectory } from './open-directory.js'
import type { OpenFile } from './open-file.js'

/** Room for the longest argument, also if a kernel believes the size in a command's number. */
const ARGUMENT_BYTES = 64

const FS_PROJINHERIT_FL = 0x2000_0000
const FS_XFLAG_PROJINHERIT = 0x200
/** struct fsxattr: u32 flags, extent size, number of extents, project id. */
const PROJECT_AT = 12

/** The parts of the share that these operations use. */
interface Share {
  readonly files: Handles<OpenFile>
  readonly directories: Handles<OpenDirectory>
  readonly options: PassthroughOptions
}

/**
 * FUSE_IOCTL for a few commands on files and directories. These commands neither wait nor hold pointers. No other command
 * reaches the host.
 */
export class IoctlOperations {
  private readonly argument = Buffer.alloc(ARGUMENT_BYTES)
  /** The value that a set command would change. */
  private readonly before = Buffer.alloc(ARGUMENT_BYTES)

  constructor(private readonly share: Share) {}

  /**
   * Reply: ioctl_out, then the argument as changed by the call. Errors: ENOTTY (other commands), EBADF, EINVAL, EPERM
   * (project ids must not change), EOPNOTSUPP (flags need a capability that this process lacks), and the host's.
   */
  ioctl(request: Request): number {
    const { args, argBytes, reply, replyBytes } = request
    const number = hostCommand(IoctlIn.command(args, ARGS))
    const command = ioctlCommands.get(number)
    if (command === undefined) return -ENOTTY
    const fd = this.fdOf(request)
    if (fd < 0) return fd
    const inBytes = IoctlIn.inBytes(args, ARGS)
    const outBytes = IoctlIn.outBytes(args, ARGS)
    const argumentAt = ARGS + IoctlIn.BYTES
    if (inBytes > request.extensionsAt - argumentAt) return -EINVAL
    if (command.sets ? inBytes < command.bytes : outBytes < command.bytes) return -EINVAL
    if (outBytes > ARGUMENT_BYTES || request.replyRoomBytes < IoctlOut.BYTES + outBytes) return -EINVAL
    const { argument } = this
    argument.fill(0)
    if (command.sets) argument.set(argBytes.subarray(argumentAt, argumentAt + command.bytes))
    const refused = this.refusalOfProject(fd, number)
    if (refused < 0) return refused
    const error = call(fd, number, argument)
    // The guest's kernel has checked its caller. A refusal of this process therefore concerns the whole share.
    if (error === -EPERM && command.sets) {
      this.share.options.report('the host refuses inode flags: the guest gets EOPNOTSUPP', {
        hint: 'immutable and append-only files need --modcaps +LINUX_IMMUTABLE',
      })
      return -EOPNOTSUPP
    }
    if (error < 0) return error
    IoctlOut.write(reply, 0, 0)
    replyBytes.set(argument.subarray(0, outBytes), IoctlOut.BYTES)
    return IoctlOut.BYTES + outBytes
  }

  /** Used if project ids must not change. Returns 0 if the argument keeps the id and sets no inheritance, else -EPERM. */
  private refusalOfProject(fd: number, number: number): number {
    if (this.share.options.allowProjectIds) return 0
    const { argument, before } = this
    if (number !== FS_IOC_SETFLAGS && number !== FS_IOC_FSSETXATTR) return 0
    before.fill(0)
    const error = call(fd, number === FS_IOC_SETFLAGS ? FS_IOC_GETFLAGS : FS_IOC_FSGETXATTR, before)
    if (error < 0) return error
    const inherits = number === FS_IOC_SETFLAGS ? FS_PROJINHERIT_FL : FS_XFLAG_PROJINHERIT
    const isSame = ((argument.readUInt32LE(0) ^ before.readUInt32LE(0)) & inherits) === 0
    if (number === FS_IOC_SETFLAGS) return isSame ? 0 : -EPERM
    return isSame && argument.readUInt32LE(PROJECT_AT) === before.readUInt32LE(PROJECT_AT) ? 0 : -EPERM
  }

  private fdOf({ args }: Request): number {
    const { files, directories } = this.share
    const handle = IoctlIn.handle(args, ARGS)
    const isDirectory = (IoctlIn.flags(args, ARGS) & FUSE_IOCTL_DIR) !== 0
    return (isDirectory ? directories.get(handle) : files.get(handle))?.fd ?? -EBADF
  }
}

/** ioctl(2). Returns 0 or a negative errno. */
type Call = (fd: number, request: number, argument: Buffer) => number

/** Loads the package ioctl-napi, which throws an errno as text in `code`. Undefined if npm has not compiled it. */
function loadIoctlNapi(): Call | undefined {
  let ioctl: typeof IoctlNapi
  try {
    // `require` fails here, and not when this module loads, if npm has not compiled the package. It has no types.
    ioctl = createRequire(import.meta.url)('ioctl-napi') as typeof IoctlNapi
  } catch {
    return undefined
  }
  return (fd, request, argument) => {
    try {
      ioctl(fd, request, argument)
      return 0
    } catch (error) {
      const errno = Number(codeOf(error))
      return errno > 0 ? -errno : -EIO
    }
  }
}

// Loaded with this file: a process that has left the host's root can no longer load modules.
const ioctlNapi = loadIoctlNapi()
const call: Call = ioctlNapi ?? native.ioctl

/** The maker of the call: the optional package, or the addon in its place. */
export const ioctlCaller = ioctlNapi === undefined ? 'virtiofsd-ts-native' : 'ioctl-napi'
