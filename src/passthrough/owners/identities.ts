import { Attr, Statx, StatxOut, type StatxWords } from 'virtio-fs-ts/protocol'
import { IdTranslation } from './id-translation.js'

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
    return this.users.guestId(Statx.uid(st))
  }

  guestGid(st: StatxWords): number {
    return this.groups.guestId(Statx.gid(st))
  }

  /** The ids of the fuse_attr that begins at word `w`, from the host's to the guest's. */
  translateAttr(words: Int32Array, w: number): void {
    this.translate(words, w + Attr.UID_WORD, w + Attr.GID_WORD)
  }

  /** The same for a fuse_statx_out. */
  translateStatx(words: Int32Array, w: number): void {
    this.translate(words, w + StatxOut.UID_WORD, w + StatxOut.GID_WORD)
  }

  private translate(words: Int32Array, uidAt: number, gidAt: number): void {
    words[uidAt] = this.users.guestId(words[uidAt] >>> 0)
    words[gidAt] = this.groups.guestId(words[gidAt] >>> 0)
  }
}
