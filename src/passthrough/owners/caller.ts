import {
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

/**
 * Becomes the guest process that asked, for the one system call that creates something: the new file is to be owned by
 * it, and a default ACL or set-group-id directory is to see its ids and its umask. Acts on this thread alone.
 *
 * Whether that process may write to the directory has been checked by the guest's kernel, which knows all of its groups
 * and capabilities: CAP_DAC_OVERRIDE is kept.
 */
export class Caller {
  private readonly canSwitch: boolean
  private entered = false
  private masked = false
  /** True if the guest leaves its umask to be applied here, where default ACLs go before it. */
  private appliesUmask = false

  constructor(private readonly identities: Identities) {
    const both = CAP_SETGID | CAP_SETUID
    this.canSwitch = (native.capabilities() & both) === both
    // What this process was started with must not help a guest user: other groups are only ever the caller's own.
    if (this.canSwitch) native.dropGroups()
  }

  begin({ flags }: InitAgreement): void {
    this.appliesUmask = has(flags, InitFlag.DONT_MASK)
  }

  /**
   * Returns 0, or a negative errno with nothing changed: -EPERM when this process may not become that user, or nobody
   * may. User 0 stays whoever runs this process where it cannot become others.
   */
  enter(request: Request, umask: number): number {
    const uid = this.identities.hostUid(request.uid)
    const gid = this.identities.hostGid(request.gid)
    if (uid === FORBIDDEN_ID || gid === FORBIDDEN_ID) return -EPERM
    if (uid !== 0 || (gid !== 0 && this.canSwitch)) {
      const result = native.credentialsEnter(uid, gid, this.canSwitch ? this.groupOf(request) : NO_GROUP)
      if (result < 0) return result
      this.entered = true
    }
    if (this.appliesUmask && umask !== 0) {
      native.umask(umask)
      this.masked = true
    }
    return 0
  }

  leave(): void {
    if (this.masked) native.umask(0)
    if (this.entered) native.credentialsLeave()
    this.masked = false
    this.entered = false
  }

  private groupOf(request: Request): number {
    const group = supplementaryGroup(request)
    // A forbidden group is no error: the caller has others.
    return group === NO_GROUP ? NO_GROUP : this.identities.hostGid(group)
  }
}
