import * as native from 'virtiofsd-ts-native'
import type { Request } from '../fuse/request.js'

const CAP_SETGID = 1 << 6
const CAP_SETUID = 1 << 7
const NO_GROUP = -1

/**
 * Becomes the guest process that asked, for the one system call that creates something: the new file is to be owned by
 * it, and a default ACL or set-group-id directory is to see its ids. Acts on this thread alone.
 */
export class Caller {
  private readonly canSwitch: boolean
  private entered = false

  constructor() {
    const both = CAP_SETGID | CAP_SETUID
    this.canSwitch = (native.capabilities() & both) === both
    // What this process was started with must not help a guest user: other groups are only ever the caller's own.
    if (this.canSwitch) native.dropGroups()
  }

  /**
   * Returns 0, or a negative errno with nothing changed: -EPERM when this process may not become that user. Guest root
   * then stays whoever runs this process.
   */
  enter(request: Request): number {
    const { uid, gid } = request
    if (uid === 0 && (gid === 0 || !this.canSwitch)) return 0
    const result = native.credentialsEnter(uid, gid, this.canSwitch ? request.supplementaryGroup() : NO_GROUP)
    this.entered = result === 0
    return result
  }

  leave(): void {
    if (!this.entered) return
    this.entered = false
    native.credentialsLeave()
  }
}
