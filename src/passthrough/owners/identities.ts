import { Attr, Statx, StatxOut, type StatxWords } from 'virtio-fs-ts/protocol'
import { IdTranslation } from './id-translation.js'

/** Translates users and groups between guest and host. */
export class Identities {
  private readonly users: IdTranslation
  private readonly groups: IdTranslation
  /** True if any id differs between the two sides. */
  readonly differ: boolean

  /** Takes specifications of `--translate-uid` and `--translate-gid`. Throws IdTranslationError. */
  constructor(userSpecs: readonly string[], groupSpecs: readonly string[]) {
    this.users = new IdTranslation(userSpecs)
    this.groups = new IdTranslation(groupSpecs)
    this.differ = !this.users.isIdentity || !this.groups.isIdentity
  }

  /** The host's user for a guest's user, or FORBIDDEN_ID. */
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

  /** Translates the ids of the fuse_attr at word `w` from host to guest. */
  translateAttr(words: Int32Array, w: number): void {
    this.translate(words, w + Attr.UID_WORD, w + Attr.GID_WORD)
  }

  /** Does the same for a fuse_statx_out. */
  translateStatx(words: Int32Array, w: number): void {
    this.translate(words, w + StatxOut.UID_WORD, w + StatxOut.GID_WORD)
  }

  private translate(words: Int32Array, uidAt: number, gidAt: number): void {
    words[uidAt] = this.users.guestId(words[uidAt] >>> 0)
    words[gidAt] = this.groups.guestId(words[gidAt] >>> 0)
  }
}
