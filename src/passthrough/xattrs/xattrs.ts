import {
  ARGS,
  EBADF,
  EINVAL,
  ENODATA,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
  FUSE_SETXATTR_ACL_KILL_SGID,
  GetxattrIn,
  GetxattrOut,
  has,
  type InitAgreement,
  InitFlag,
  type Request,
  SetxattrIn,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { InodeTable } from '../inodes/inode-table.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { HostName, XattrNames } from './xattr-names.js'

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux. */
const SIZE_MAX_BYTES = 65_536
const S_ISGID = 0o2000
const PERMISSIONS = 0o7777

const NOTHING = new Uint8Array(1)

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly xattrNames: XattrNames
  readonly procFd: number
  readonly options: PassthroughOptions
}

/** Extended attributes of inodes of all types, with names translated by the share's map. */
export class XattrOperations {
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly list = new Uint8Array(SIZE_MAX_BYTES)
  private takesFlags = false

  constructor(private readonly share: Share) {}

  begin({ flags }: InitAgreement): void {
    this.takesFlags = has(flags, InitFlag.SETXATTR_EXT)
    this.share.xattrNames.aclsPass = has(flags, InitFlag.POSIX_ACL)
  }

  /** FUSE_SETXATTR. Reply: empty. Errors: EBADF, EINVAL, EPERM or EOPNOTSUPP (names), and what setxattr gives. */
  setxattr(request: Request): number {
    const { args, argBytes, nameAt, secondNameAt: valueAt } = request
    const fd = this.fdOf(request)
    if (fd < 0) return fd
    const sizeBytes = SetxattrIn.sizeBytes(args, ARGS)
    if (sizeBytes > request.extensionsAt - valueAt) return -EINVAL
    const name = this.share.xattrNames.host(argBytes, nameAt)
    if (typeof name === 'number') return name
    if (!this.share.options.allowSuid && isFileCapability(name)) return -EPERM
    const flags = SetxattrIn.flags(args, ARGS) | 0
    const result = native.inodeSetxattr(fd, name.bytes, name.at, argBytes, valueAt, sizeBytes, flags)
    const extra = this.takesFlags ? SetxattrIn.setxattrFlags(args, ARGS) : 0
    if (result === 0 && (extra & FUSE_SETXATTR_ACL_KILL_SGID) !== 0) this.dropGroupBit(request)
    return result
  }

  /** FUSE_GETXATTR. Reply: the value, or getxattr_out for a size of 0. Errors: EBADF, ENODATA, ERANGE and so on. */
  getxattr(request: Request): number {
    const { args, argBytes, nameAt } = request
    const fd = this.fdOf(request)
    if (fd < 0) return fd
    const name = this.share.xattrNames.host(argBytes, nameAt)
    // An attribute that the map hides does not exist for the guest.
    if (typeof name === 'number') return name === -EPERM ? -ENODATA : name
    const roomBytes = Math.min(GetxattrIn.sizeBytes(args, ARGS), SIZE_MAX_BYTES)
    const result = native.inodeGetxattr(fd, name.bytes, name.at, request.replyBytes, 0, roomBytes)
    return roomBytes > 0 || result < 0 ? result : replySize(request, result)
  }

  /** FUSE_LISTXATTR. Reply: names, each with its NUL, or getxattr_out for a size of 0. Errors: EBADF, ERANGE. */
  listxattr(request: Request): number {
    const fd = this.fdOf(request)
    if (fd < 0) return fd
    const lenBytes = native.inodeListxattr(fd, this.list, 0, SIZE_MAX_BYTES)
    if (lenBytes < 0) return lenBytes
    const names = this.share.xattrNames.guestList(this.list, lenBytes)
    const roomBytes = GetxattrIn.sizeBytes(request.args, ARGS)
    if (roomBytes === 0) return replySize(request, names.length)
    if (names.length > roomBytes) return -ERANGE
    request.replyBytes.set(names)
    return names.length
  }

  /** FUSE_REMOVEXATTR. Reply: empty. Errors: EBADF, EPERM or EOPNOTSUPP (names), ENODATA. */
  removexattr(request: Request): number {
    const fd = this.fdOf(request)
    if (fd < 0) return fd
    const name = this.share.xattrNames.host(request.argBytes, request.nameAt)
    return typeof name === 'number' ? name : native.inodeRemovexattr(fd, name.bytes, name.at)
  }

  private fdOf(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    return slot === 0 ? -EBADF : inodes.fdOf(slot)
  }

  /** Clears the set-group-id bit: the kernel leaves it, because this process has CAP_FSETID. The guest's caller has not. */
  private dropGroupBit(request: Request): void {
    const { share, st } = this
    const slot = share.inodes.slotOf(request.nodeid)
    if (share.inodes.stat(slot, st) < 0 || (Statx.mode(st) & S_ISGID) === 0) return
    native.inodeChmod(share.procFd, share.inodes.fdOf(slot), Statx.mode(st) & PERMISSIONS & ~S_ISGID)
  }
}

/** Tells if the file system of `fd` supports extended attributes and POSIX ACLs. */
export function hostKeeps(fd: number): { readonly xattrs: boolean; readonly acls: boolean } {
  const acl = new TextEncoder().encode('system.posix_acl_access\0')
  return {
    xattrs: native.inodeListxattr(fd, NOTHING, 0, 0) !== -EOPNOTSUPP,
    acls: native.inodeGetxattr(fd, acl, 0, NOTHING, 0, 0) !== -EOPNOTSUPP,
  }
}

function replySize(request: Request, sizeBytes: number): number {
  GetxattrOut.write(request.reply, 0, sizeBytes)
  return GetxattrOut.BYTES
}

const FILE_CAPABILITY = Buffer.from('security.capability\0')

function isFileCapability({ bytes, at }: HostName): boolean {
  return FILE_CAPABILITY.equals(bytes.subarray(at, at + FILE_CAPABILITY.length))
}
