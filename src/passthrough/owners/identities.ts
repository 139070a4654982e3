import { type StatxWords, statxGid, statxUid } from '../inodes/statx.js'
import { IdTranslation } from './id-translation.js'

/** Words of a fuse_attr that hold ids. */
const ATTR_UID = 17
const ATTR_GID = 18

/** Who somebody of the guest is on the host, and the other way round. */
export class Identities {
  private readonly users: IdTranslation
  private readonly groups: IdTranslation
  /** Whether anybody is somebody else on the other side. */
  readonly differ: boolean

  /** Specifications as of `--translate-uid` and `--translate-gid`. Throws IdTranslationError. */
  constructor(userSpecs: readonly string[], groupSpecs: readonly string[]) {
    this.users = new IdTranslation(userSpecs)
    this.groups = new IdTranslation(groupSpecs)
    this.differ = !this.users.isIdentity || !this.groups.isIdentity
  }

  /** The host's user for a guest's, or FORBIDDEN_ID. */
  hostUid(uid: number): number {
    return this.differ ? this.users.hostId(uid) : uid
  }

  hostGid(gid: number): number {
    return this.differ ? this.groups.hostId(gid) : gid
  }

  guestUid(st: StatxWords): number {
    return this.users.guestId(statxUid(st))
  }

  guestGid(st: StatxWords): number {
    return this.groups.guestId(statxGid(st))
  }

  /** The ids of the fuse_attr that begins at word `at`, from the host's to the guest's. */
  translateAttr(words: Int32Array, at: number): void {
    words[at + ATTR_UID] = this.users.guestId(words[at + ATTR_UID] >>> 0)
    words[at + ATTR_GID] = this.groups.guestId(words[at + ATTR_GID] >>> 0)
  }
}
