import * as native from 'virtiofsd-ts-native'
import { FUSE_INVALID_UIDGID } from '../fuse/abi.js'
import type { Identities } from './identities.js'
import { STATX_WORDS, statxGid, statxMode } from './statx.js'

const S_ISUID = 0o4000
const S_ISGID = 0o2000
const S_IXGRP = 0o0010
const S_IFMT = 0o170000
const S_IFREG = 0o100000
const PERMISSIONS = 0o7777
/** Nobody's: no request has it. */
const NO_GROUP = -1

const STATX_MODE_GID = native.constants.STATX_BASIC_STATS

/** Whether a mode is that of a regular file with a bit that it can lose. */
export function isSetIdFile(mode: number): boolean {
  return (mode & (S_ISUID | S_ISGID)) !== 0 && (mode & S_IFMT) === S_IFREG
}

/**
 * What a file loses when somebody changes its contents: set-user-id and set-group-id bits, and file capabilities. The
 * host's kernel takes the bits from whoever lacks CAP_FSETID, which this process has and the guest's caller may not; it
 * takes `security.capability`, but not under another name.
 */
export class Privileges {
  private readonly st = new Int32Array(STATX_WORDS)

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

  /** The guest has found that its caller, whom it does not name, may not keep the bits. */
  dropAllBits(fd: number): void {
    this.dropBits(fd, NO_GROUP)
  }

  dropCapability(fd: number): void {
    // Mostly there is none.
    if (this.capability !== undefined) native.inodeRemovexattr(fd, this.capability, 0)
  }

  /**
   * Takes the bits, as setattr_should_drop_suidgid of Linux 6.2 and later decides it. Without execution for the group,
   * set-group-id once meant mandatory locking and now means nothing: a caller of an unknown group keeps it.
   */
  private dropBits(fd: number, gid: number): void {
    const { st } = this
    if (native.fstatx(fd, STATX_MODE_GID, st) < 0) return
    const mode = statxMode(st)
    const isMember = gid === FUSE_INVALID_UIDGID || this.identities.hostGid(gid) === statxGid(st)
    const keepsGroupBit = (mode & S_IXGRP) === 0 && gid !== NO_GROUP && isMember
    const lost = S_ISUID | (keepsGroupBit ? 0 : S_ISGID)
    if ((mode & lost) !== 0) native.inodeChmod(this.procFd, fd, mode & PERMISSIONS & ~lost)
  }
}
