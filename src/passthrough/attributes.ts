import {
  AccessIn,
  ARGS,
  EACCES,
  EAGAIN,
  EBADF,
  EFBIG,
  EINVAL,
  EISDIR,
  EPERM,
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_GID,
  FATTR_KILL_SUIDGID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  POSTPONED,
  type Request,
  SetattrIn,
  StatfsOut,
  Statx,
  StatxIn,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Agreed } from './agreed.js'
import { descriptorError } from './descriptors.js'
import type { Handles } from './files/handles.js'
import type { OpenFile } from './files/open-file.js'
import type { InodeTable } from './inodes/inode-table.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from './inodes/inode-table.js'
import { STATX_MASK } from './inodes/statx.js'
import { FORBIDDEN_ID } from './owners/id-translation.js'
import type { Identities } from './owners/identities.js'
import type { Privileges } from './owners/privileges.js'
import { refusalOfMode } from './owners/refused-modes.js'
import type { PassthroughOptions } from './passthrough-options.js'
import type { Replies } from './replies.js'

const { O_NONBLOCK, O_WRONLY, STATX_BASIC_STATS, STATX_BTIME, UTIME_NOW, UTIME_OMIT } = native.constants

const ATTRIBUTES = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME
const KEEP_ID = -1
const NSEC_PER_SEC = 1_000_000_000
const PERMISSIONS = 0o7777
const X_OK = 1

const STATFS_BYTES = 120

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly identities: Identities
  readonly privileges: Privileges
  readonly agreed: Agreed
  readonly replies: Replies
  readonly procFd: number
  readonly options: PassthroughOptions
}

/** Attributes of inodes and of the file system. */
export class AttributeOperations {
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly statfsBytes = new Uint8Array(STATFS_BYTES)
  private readonly statfsView = new DataView(this.statfsBytes.buffer)

  constructor(private readonly share: Share) {}

  /** FUSE_GETATTR. Reply: attr_out. Also works for files without a name. Errors: EBADF. */
  getattr(request: Request): number {
    const slot = this.share.inodes.slotOf(request.nodeid)
    return slot === 0 ? -EBADF : this.replyNow(request, slot)
  }

  /** FUSE_STATX: attributes with the birth time. Reply: statx_out. Errors: EBADF. */
  statx(request: Request): number {
    const { share } = this
    const slot = share.inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const fd = share.inodes.fdOf(slot)
    const asked = StatxIn.mask(request.args, ARGS) & (STATX_BASIC_STATS | STATX_BTIME)
    const result = fd < 0 ? fd : native.fstatx(fd, asked | STATX_MASK, this.st)
    return result < 0 ? result : share.replies.statx(request, slot, this.st)
  }

  /**
   * FUSE_SETATTR: sets owner, mode and size, then times, because each would alter the next ones. Reply: attr_out.
   * With FUSE_HANDLE_KILLPRIV_V2, Linux also sends a SETATTR that sets nothing: a caller is about to change the file,
   * and the device must clear its set-id bits.
   */
  setattr(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const valid = SetattrIn.valid(request.args, ARGS)
    let result = (valid & ATTRIBUTES) === 0 ? this.touch(request, slot) : this.refusalOf(request, slot, valid)
    if (result === 0 && (valid & (FATTR_UID | FATTR_GID)) !== 0) result = this.setOwner(request, slot, valid)
    if (result === 0 && (valid & FATTR_MODE) !== 0) result = this.setMode(request, slot)
    if (result === 0 && (valid & FATTR_SIZE) !== 0) result = this.setSize(request, slot, valid)
    if (result === 0 && (valid & (FATTR_ATIME | FATTR_MTIME)) !== 0)
      result = this.setTimes(request, slot, valid)
    return result < 0 ? result : this.replyNow(request, slot)
  }

  /** FUSE_ACCESS, decided by mode bits. virtio-fs guests check access themselves and do not send it. Reply: empty. */
  access(request: Request): number {
    const { st } = this
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const result = inodes.stat(slot, st)
    if (result < 0) return result
    const mask = AccessIn.mask(request.args, ARGS) & 7
    const mode = Statx.mode(st)
    if (request.uid === 0) {
      // Root may do everything except execute a file without any execute bit.
      const mayExecute = (mode & 0o111) !== 0 || inodes.typeOf(slot) === TYPE_DIRECTORY
      return (mask & X_OK) === 0 || mayExecute ? 0 : -EACCES
    }
    const { identities } = this.share
    const shift =
      request.uid === identities.guestUid(st) ? 6 : request.gid === identities.guestGid(st) ? 3 : 0
    return (mask & ~(mode >>> shift)) === 0 ? 0 : -EACCES
  }

  /** FUSE_STATFS. Reply: statfs_out. Errors: EBADF and those of fstatfs. */
  statfs(request: Request): number {
    const slot = this.share.inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    const fd = this.share.inodes.fdOf(slot)
    const result = fd < 0 ? fd : native.fstatfs(fd, this.statfsBytes)
    if (result < 0) return result
    const { statfsView: from } = this
    // struct statfs: f_type and f_bsize, then the counts, then f_namelen and f_frsize.
    const [blockBytes, nameMaxBytes, fragmentBytes] = [8, 64, 72].map((at) => from.getUint32(at, true))
    StatfsOut.write(request.reply, 0, from, 16, blockBytes, nameMaxBytes, fragmentBytes)
    return StatfsOut.BYTES
  }

  /** Replies with a fuse_attr_out of the inode's present attributes. */
  private replyNow(request: Request, slot: number): number {
    const result = this.share.inodes.stat(slot, this.st)
    return result < 0 ? result : this.share.replies.attr(request, slot, this.st)
  }

  /** Handles a SETATTR without values, such as chown(2) without ids: ctime changes and the set-id bits are cleared. */
  private touch(request: Request, slot: number): number {
    const { inodes, privileges, agreed } = this.share
    const fd = inodes.fdOf(slot)
    if (fd < 0) return fd
    if (agreed.killsPrivileges && inodes.typeOf(slot) === TYPE_REGULAR)
      privileges.dropBeforeChange(fd, true, request.gid)
    return native.inodeChown(fd, KEEP_ID, KEEP_ID)
  }

  /** Returns 0, or the errno for a mode that the share does not allow. */
  private refusalOf({ args }: Request, slot: number, valid: number): number {
    const { inodes, options } = this.share
    if ((valid & FATTR_MODE) === 0) return 0
    return refusalOfMode(options, SetattrIn.mode(args, ARGS), inodes.typeOf(slot) === TYPE_DIRECTORY)
  }

  private setMode({ args }: Request, slot: number): number {
    const { inodes, procFd } = this.share
    const fd = inodes.fdOf(slot)
    return fd < 0 ? fd : native.inodeChmod(procFd, fd, SetattrIn.mode(args, ARGS) & PERMISSIONS)
  }

  private setOwner(request: Request, slot: number, valid: number): number {
    const { args } = request
    const { inodes, identities, privileges } = this.share
    const uid = (valid & FATTR_UID) === 0 ? KEEP_ID : identities.hostUid(SetattrIn.uid(args, ARGS))
    const gid = (valid & FATTR_GID) === 0 ? KEEP_ID : identities.hostGid(SetattrIn.gid(args, ARGS))
    if (uid === FORBIDDEN_ID && (valid & FATTR_UID) !== 0) return -EPERM
    if (gid === FORBIDDEN_ID && (valid & FATTR_GID) !== 0) return -EPERM
    const fd = inodes.fdOf(slot)
    if (fd < 0) return fd
    const keeps = this.keepsPrivileges && inodes.typeOf(slot) === TYPE_REGULAR
    const result = keeps ? privileges.chownKeeping(fd, uid, gid) : privileges.chown(fd, uid, gid)
    // An id that the device's user namespace does not have.
    return result === -EINVAL ? -EPERM : result
  }

  private setSize(request: Request, slot: number, valid: number): number {
    const { inodes, files, procFd } = this.share
    const { args } = request
    const sizeBytes = SetattrIn.sizeBytes(args, ARGS)
    if (sizeBytes < 0) return -EFBIG
    if ((valid & FATTR_FH) !== 0) {
      const file = files.get(SetattrIn.handle(args, ARGS))
      return file === undefined ? -EBADF : this.truncate(request, file.fd, sizeBytes, valid)
    }
    if (inodes.typeOf(slot) === TYPE_DIRECTORY) return -EISDIR
    // Opening any other type could block, or reach a device of the host.
    if (inodes.typeOf(slot) !== TYPE_REGULAR) return -EINVAL
    const pathFd = inodes.fdOf(slot)
    const fd = pathFd < 0 ? pathFd : native.inodeOpen(procFd, pathFd, O_WRONLY | O_NONBLOCK)
    // A process on the host holds a lease on the file. The kernel now asks it to give the lease up.
    if (fd === -EAGAIN) return POSTPONED
    if (fd < 0) return descriptorError(fd)
    const result = this.truncate(request, fd, sizeBytes, valid)
    native.close(fd)
    return result
  }

  private truncate(request: Request, fd: number, sizeBytes: number, valid: number): number {
    const { privileges, agreed, options } = this.share
    const kill = agreed.killsPrivileges && (valid & FATTR_KILL_SUIDGID) !== 0
    // The guest changes a program of the host, which must not run as another user afterwards.
    if (!options.allowSuid) privileges.dropSetIds(fd)
    if (this.keepsPrivileges) return privileges.truncateKeeping(fd, sizeBytes)
    if (kill || privileges.followsChanges) privileges.dropBeforeChange(fd, kill, request.gid)
    return native.ftruncate(fd, sizeBytes)
  }

  /**
   * True if a file keeps its privileges: a guest that takes them away itself has done so before a change, unless they are to
   * stay. This is how overlayfs copies a program.
   */
  private get keepsPrivileges(): boolean {
    const { agreed, options } = this.share
    return agreed.guestKillsPrivileges && options.allowSuid
  }

  private setTimes(request: Request, slot: number, valid: number): number {
    const { inodes, procFd } = this.share
    const { args } = request
    const atimeSec = clampedSec(SetattrIn.atimeSec(args, ARGS))
    const mtimeSec = clampedSec(SetattrIn.mtimeSec(args, ARGS))
    const atimeNsec = nsecOf(valid, FATTR_ATIME, FATTR_ATIME_NOW, SetattrIn.atimeNsec(args, ARGS))
    const mtimeNsec = nsecOf(valid, FATTR_MTIME, FATTR_MTIME_NOW, SetattrIn.mtimeNsec(args, ARGS))
    if (atimeNsec < 0 || mtimeNsec < 0) return -EINVAL
    const fd = inodes.fdOf(slot)
    return fd < 0 ? fd : native.inodeUtimens(procFd, fd, atimeSec, atimeNsec, mtimeSec, mtimeNsec)
  }
}

/** As a kernel does with a time that its file system cannot hold, takes the closest one that a Number holds. */
function clampedSec(sec: number): number {
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(sec, Number.MAX_SAFE_INTEGER))
}

/** The nanoseconds for utimensat, or -1 if the guest's value is not a fraction of a second. */
function nsecOf(valid: number, setBit: number, nowBit: number, nsec: number): number {
  if ((valid & setBit) === 0) return UTIME_OMIT
  if ((valid & nowBit) !== 0) return UTIME_NOW
  return nsec < NSEC_PER_SEC ? nsec : -1
}
