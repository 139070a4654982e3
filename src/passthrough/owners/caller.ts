import {
  EINVAL,
  EPERM,
  has,
  type InitAgreement,
  InitFlag,
  type Request,
  supplementaryGroup,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { FORBIDDEN_ID } from './id-translation.js'
import type { Identities } from './identities.js'

const CAP_SETGID = 1 << 6
const CAP_SETUID = 1 << 7
const NO_GROUP = -1
const NO_ID = 0xffff_ffff

/**
 * Becomes the requesting guest process for one system call that creates a file. The new file belongs to that process, and
 * a default ACL or set-group-id directory sees its ids and its umask. Changes this thread only.
 *
 * The guest's kernel has checked that the process may write to the directory. It knows all of the process's groups and
 * capabilities, so this thread keeps CAP_DAC_OVERRIDE.
 */
export class Caller {
  private readonly canSwitch: boolean
  private readonly ownUid = process.geteuid?.() ?? 0
  private readonly isRoot = this.ownUid === 0 && process.getegid?.() === 0
  /** True if this thread is user 0 and group 0, or can become them. Otherwise guest user 0 acts as the device's user. */
  private readonly canBeRoot: boolean
  private entered = false
  private masked = false
  /** True if the guest leaves its umask to the device, so that default ACLs take precedence over it. */
  private appliesUmask = false

  constructor(
    private readonly identities: Identities,
    private readonly report: (kind: string, fields: object) => void,
  ) {
    const both = CAP_SETGID | CAP_SETUID
    this.canSwitch = (native.capabilities() & both) === both
    // The groups of this process must not help a guest user: from here on it only takes on the caller's groups.
    if (this.canSwitch) native.dropGroups()
    this.canBeRoot = this.canSwitch && native.credentialsEnter(0, 0, NO_GROUP) === 0
    native.credentialsLeave()
  }

  begin({ flags }: InitAgreement): void {
    this.appliesUmask = has(flags, InitFlag.DONT_MASK)
  }

  /**
   * Returns 0, or a negative errno without any change: -EPERM if this process may not become that user, or no process may.
   * If it cannot become other users, guest user 0 acts as the user of this process.
   */
  enter(request: Request, umask: number): number {
    const uid = this.identities.hostUid(request.uid)
    const gid = this.identities.hostGid(request.gid)
    if (uid === FORBIDDEN_ID || gid === FORBIDDEN_ID) return -EPERM
    if (!this.isOwn(uid, gid)) {
      const result = native.credentialsEnter(uid, gid, this.canSwitch ? this.groupOf(request) : NO_GROUP)
      // An id that the user namespace does not have is EINVAL, as the one that stands for none.
      const isUnknown = result === -EINVAL && uid !== NO_ID && gid !== NO_ID
      if (isUnknown || result === -EPERM) return this.refuse(uid, gid)
      if (result < 0) return result
      this.entered = true
    }
    if (this.appliesUmask && umask !== 0) {
      native.umask(umask)
      this.masked = true
    }
    return 0
  }

  /** Reports that this process may not become a user with a group, or that nobody may here. */
  private refuse(uid: number, gid: number): number {
    this.report('nothing can be made as this user and group of the guest, which gets EPERM', {
      uid,
      gid,
      hint: 'run the device as root, give --uid-map and --gid-map, or --map-to-me for files of one user',
    })
    return -EPERM
  }

  /** Returns true if this thread, as it is, acts for a user and a group of the host. */
  private isOwn(uid: number, gid: number): boolean {
    if (!this.canBeRoot) return uid === 0 && (gid === 0 || !this.canSwitch)
    return uid === 0 && gid === 0 && this.isRoot
  }

  leave(): void {
    if (this.masked) native.umask(0)
    if (this.entered) native.credentialsLeave()
    this.masked = false
    this.entered = false
  }

  /** The owner, on the host, of what is made between `enter` and `leave`. */
  ownerFor(request: Request): number {
    const uid = this.identities.hostUid(request.uid)
    return uid === 0 && !this.canBeRoot ? this.ownUid : uid
  }

  private groupOf(request: Request): number {
    const group = supplementaryGroup(request)
    // A forbidden group is no error: the caller has other groups.
    return group === NO_GROUP ? NO_GROUP : this.identities.hostGid(group)
  }
}
