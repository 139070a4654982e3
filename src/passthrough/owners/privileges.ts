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

const STATX_MODE_GID = native.constants.STATX_BASIC_STATS

/** Whether a mode is that of a regular file with a bit that it can lose. */
export function isSetIdFile(mode: number): boolean {
  return (mode & SET_ID_BITS) !== 0 && (mode & S_IFMT) === S_IFREG
}

/**
 * What a file loses when somebody changes its contents: set-user-id and set-group-id bits, and file capabilities. The
 * host's kernel takes the bits from whoever lacks CAP_FSETID, which this process has and the guest's caller may not; it
 * takes `security.capability`, but not under another name.
 */
export class Privileges {
  private readonly st = new Int32Array(Statx.WORDS)

  /** `capability`: under which other name security.capability is kept, NUL-terminated; undefined: under its own. */
  constructor(
    private readonly procFd: number,
    private readonly identities: Identities,
    private readonly capability: Uint8Array | undefined,
  ) {}

  /** Whether every change of contents has to be told of. */
  get followsChanges(): boolean {
    return this.capability !== undefined
  }

  /** Before the contents of what `fd` stands for change. `kill`: its bits have to go, a member of group `gid` asks. */
  dropBeforeChange(fd: number, kill: boolean, gid: number): void {
    if (kill) this.dropBits(fd, gid)
    this.dropCapability(fd)
  }

  /**
   * Before a change that says nothing about its caller. What is left of the bits says it: one that may not keep them has
   * lost them just now, but for a set-group-id that means nothing, and that goes here.
   */
  dropWhatIsLeft(fd: number): void {
    const mode = this.modeOf(fd)
    if ((mode & (S_ISUID | S_IXGRP)) === 0) this.take(fd, mode, S_ISGID)
  }

  /** Takes the bits, whoever asks. */
  dropSetIds(fd: number): void {
    const mode = this.modeOf(fd)
    if (isSetIdFile(mode)) this.take(fd, mode, SET_ID_BITS)
  }

  dropCapability(fd: number): void {
    // Mostly there is none.
    if (this.capability !== undefined) native.inodeRemovexattr(fd, this.capability, 0)
  }

  /**
   * Takes the bits, as setattr_should_drop_suidgid of Linux 6.2 and later decides it. Set-group-id without execution for the
   * group, which once meant mandatory locking and now means nothing, stays for members and for callers of unknown groups.
   */
  private dropBits(fd: number, gid: number): void {
    const mode = this.modeOf(fd)
    const isMember = gid === FUSE_INVALID_UIDGID || this.identities.hostGid(gid) === Statx.gid(this.st)
    this.take(fd, mode, (mode & S_IXGRP) === 0 && isMember ? S_ISUID : SET_ID_BITS)
  }

  /** 0 when there is no telling. */
  private modeOf(fd: number): number {
    return native.fstatx(fd, STATX_MODE_GID, this.st) < 0 ? 0 : Statx.mode(this.st)
  }

  private take(fd: number, mode: number, bits: number): void {
    if ((mode & bits) !== 0) native.inodeChmod(this.procFd, fd, mode & PERMISSIONS & ~bits)
  }
}
