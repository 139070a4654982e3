import { FUSE_INVALID_UIDGID, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Identities } from './identities.js'

const S_ISUID = 0o4000
const S_ISGID = 0o2000
const S_IXGRP = 0o0010
const S_IFMT = 0o170000
const S_IFREG = 0o100000
const PERMISSIONS = 0o7777
const SET_ID_BITS = S_ISUID | S_ISGID

const CAPABILITY = new TextEncoder().encode('security.capability\0')
/** Longer than struct vfs_ns_cap_data. */
const CAPABILITY_BYTES = 64

const STATX_MODE_GID = native.constants.STATX_BASIC_STATS

/** Returns true for the mode of a regular file with a set-id bit that it can lose. */
export function isSetIdFile(mode: number): boolean {
  return (mode & SET_ID_BITS) !== 0 && (mode & S_IFMT) === S_IFREG
}

/**
 * Privileges that a file loses when its contents change: set-user-id and set-group-id bits, and file capabilities. The
 * host's kernel clears the bits unless the process has CAP_FSETID. This process has it, but the guest's caller may not. The
 * kernel removes `security.capability`, but not if it is stored under another name.
 */
export class Privileges {
  private readonly st = new Int32Array(Statx.WORDS)

  /** The value of a capability that is to stay. */
  private readonly value = new Uint8Array(CAPABILITY_BYTES)

  /**
   * `capability`: the other name of security.capability, NUL-terminated, or undefined for its own name. `guestHasIt`: the guest
   * can remove security.capability by its own name.
   */
  constructor(
    private readonly procFd: number,
    private readonly identities: Identities,
    private readonly capability: Uint8Array | undefined,
    private readonly guestHasIt: boolean,
  ) {}

  /** True if every change of contents must be reported to this class. */
  get followsChanges(): boolean {
    return this.capability !== undefined
  }

  /** Changes the owner of the file of `fd`, which then has no privileges. Returns 0 or a negative errno. */
  chown(fd: number, uid: number, gid: number): number {
    this.dropCapability(fd)
    return native.inodeChown(fd, uid, gid)
  }

  /**
   * The same for a regular file that keeps its privileges. The host takes them, so they are given back. What this process may not
   * give is lost: the owner has changed all the same.
   */
  chownKeeping(fd: number, uid: number, gid: number): number {
    const mode = this.modeOf(fd)
    const lenBytes = this.readCapability(fd)
    const result = native.inodeChown(fd, uid, gid)
    if (result === 0 && isSetIdFile(mode)) native.inodeChmod(this.procFd, fd, mode & PERMISSIONS)
    return this.writeCapability(fd, lenBytes, result)
  }

  /** Sets the size of a file that keeps its capability. The host takes that, and leaves the bits. */
  truncateKeeping(fd: number, sizeBytes: number): number {
    const lenBytes = this.readCapability(fd)
    return this.writeCapability(fd, lenBytes, native.ftruncate(fd, sizeBytes))
  }

  /** Reads the capability that the guest can remove. Returns its length, 0 or a negative errno if there is none. */
  private readCapability(fd: number): number {
    return this.guestHasIt ? native.inodeGetxattr(fd, CAPABILITY, 0, this.value, 0, CAPABILITY_BYTES) : 0
  }

  /** Gives the capability that was read back, if the change of the file has succeeded. Returns the `result` of that. */
  private writeCapability(fd: number, lenBytes: number, result: number): number {
    if (result === 0 && lenBytes > 0) native.inodeSetxattr(fd, CAPABILITY, 0, this.value, 0, lenBytes, 0)
    return result
  }

  /** Call before the contents of the file of `fd` change. With `kill`, clears the bits; the caller is in group `gid`. */
  dropBeforeChange(fd: number, kill: boolean, gid: number): void {
    if (kill) this.dropBits(fd, gid)
    this.dropCapability(fd)
  }

  /**
   * Call before a change without information about its caller. A caller without the right to the bits has just cleared
   * them, except for a set-group-id bit without meaning, which this clears.
   */
  dropWhatIsLeft(fd: number): void {
    const mode = this.modeOf(fd)
    if ((mode & (S_ISUID | S_IXGRP)) === 0) this.take(fd, mode, S_ISGID)
  }

  /** Clears the bits for every caller. */
  dropSetIds(fd: number): void {
    const mode = this.modeOf(fd)
    if (isSetIdFile(mode)) this.take(fd, mode, SET_ID_BITS)
  }

  dropCapability(fd: number): void {
    // Usually there is none.
    if (this.capability !== undefined) native.inodeRemovexattr(fd, this.capability, 0)
  }

  /**
   * Clears the bits by the rules of setattr_should_drop_suidgid in Linux 6.2 and later. Set-group-id without group execution
   * (once mandatory locking, now meaningless) stays for group members and for callers of unknown groups.
   */
  private dropBits(fd: number, gid: number): void {
    const mode = this.modeOf(fd)
    const isMember = gid === FUSE_INVALID_UIDGID || this.identities.hostGid(gid) === Statx.gid(this.st)
    this.take(fd, mode, (mode & S_IXGRP) === 0 && isMember ? S_ISUID : SET_ID_BITS)
  }

  /** Returns 0 if the mode cannot be read. */
  private modeOf(fd: number): number {
    return native.fstatx(fd, STATX_MODE_GID, this.st) < 0 ? 0 : Statx.mode(this.st)
  }

  private take(fd: number, mode: number, bits: number): void {
    if ((mode & bits) !== 0) native.inodeChmod(this.procFd, fd, mode & PERMISSIONS & ~bits)
  }
}
