import {
  Attr,
  AttrOut,
  type CachePolicy,
  ENOENT,
  EntryOut,
  FUSE_ATTR_SUBMOUNT,
  type Request,
  Statx,
  StatxOut,
  type StatxWords,
} from 'virtio-fs-ts/protocol'
import type { OpenRules } from '../io-mode/open-rules.js'
import type { Agreed } from './agreed.js'
import type { HostPaths } from './inodes/host-paths.js'
import { type InodeTable, TYPE_DIRECTORY, TYPE_REGULAR } from './inodes/inode-table.js'
import { setStatxBlocks, statxHasNoBlocks } from './inodes/statx.js'
import type { Identities } from './owners/identities.js'
import { isSetIdFile } from './owners/privileges.js'

/** Of 512 bytes. */
const PAGE_BLOCKS = 8

/** Node ids are never used twice in a session. */
const GENERATION = 0

/** What replies are made from. */
interface Sources {
  readonly inodes: InodeTable
  readonly paths: HostPaths
  readonly identities: Identities
  readonly rules: OpenRules
  readonly agreed: Agreed
}

/** Replies that carry an inode's attributes, which the caller hands over, and for how long the guest may believe them. */
export class Replies {
  constructor(private readonly from: Sources) {}

  /** A fuse_entry_out of `slot`, found in directory `parent`. `slot` may be a negative errno: then that is the reply. */
  entry(request: Request, slot: number, parent: number, st: StatxWords): number {
    if (slot < 0) return slot
    this.writeEntry(request, 0, slot, parent, st)
    return EntryOut.BYTES
  }

  /** That a name is not there; for how long the guest may believe that is the share's choice. */
  noEntry(request: Request): number {
    const { negativeTimeoutSec } = this.from.rules.base
    if (negativeTimeoutSec === 0) return -ENOENT
    EntryOut.writeNothing(request.replyWords, 0, negativeTimeoutSec)
    return EntryOut.BYTES
  }

  /** A fuse_attr_out. */
  attr(request: Request, slot: number, st: StatxWords): number {
    const words = request.replyWords
    AttrOut.writeHead(words, 0, this.attrTimeoutSec(slot, this.policyOf(slot), st))
    this.writeAttr(slot, words, AttrOut.ATTR_AT >> 2, st, 0)
    return AttrOut.BYTES
  }

  /** A fuse_statx_out. */
  statx(request: Request, slot: number, st: StatxWords): number {
    const attrTimeoutSec = this.attrTimeoutSec(slot, this.policyOf(slot), st)
    this.showBlocks(slot, st)
    StatxOut.write(request.replyWords, 0, attrTimeoutSec, st)
    const { identities } = this.from
    if (identities.differ) identities.translateStatx(request.replyWords, 0)
    return StatxOut.BYTES
  }

  /** Puts a fuse_entry_out of `slot`, found in directory `parent`, into the reply at byte `at`, a multiple of 4. */
  writeEntry(request: Request, at: number, slot: number, parent: number, st: StatxWords): void {
    const policy = this.policyOf(slot)
    const words = request.replyWords
    const w = at >> 2
    const attrTimeoutSec = this.attrTimeoutSec(slot, policy, st)
    EntryOut.writeHead(
      words,
      w,
      this.from.inodes.idOf(slot),
      GENERATION,
      policy.entryTimeoutSec,
      attrTimeoutSec,
    )
    const attrFlags = this.isSubmount(slot, parent) ? FUSE_ATTR_SUBMOUNT : 0
    this.writeAttr(slot, words, w + (EntryOut.ATTR_AT >> 2), st, attrFlags)
  }

  /** Writes the fuse_attr of a slot, and remembers what the guest has been told. */
  private writeAttr(slot: number, words: Int32Array, w: number, st: StatxWords, attrFlags: number): void {
    const { identities, inodes, agreed } = this.from
    this.showBlocks(slot, st)
    Attr.write(words, w, st, attrFlags)
    if (identities.differ) identities.translateAttr(words, w)
    if (agreed.keepsUnchanged && inodes.typeOf(slot) === TYPE_REGULAR) inodes.versions.told(slot, st)
  }

  /** What the guest is told about caching an inode's name and attributes. */
  private policyOf(slot: number): CachePolicy {
    const { rules, paths } = this.from
    return rules.changesTimeouts ? rules.forName(paths.of(slot)).policy : rules.base
  }

  /**
   * How long attributes are valid. Where the bits are taken here with a change of contents, the guest's kernel does not
   * look for another mode behind it: it must not have believed the old one. Nor that a file has no blocks, which it may be
   * about to write to in its page cache.
   */
  private attrTimeoutSec(slot: number, policy: CachePolicy, st: StatxWords): number {
    if (this.from.agreed.killsPrivileges && isSetIdFile(Statx.mode(st))) return 0
    return this.mayGetBlocks(slot, st) ? 0 : policy.attrTimeoutSec
  }

  /** Returns true for a file without blocks that gets them unseen as soon as the guest opens it for writing. */
  private mayGetBlocks(slot: number, st: StatxWords): boolean {
    const { inodes } = this.from
    if (!statxHasNoBlocks(st) || inodes.typeOf(slot) !== TYPE_REGULAR) return false
    return (inodes.dirty.writesBack || Statx.sizeBytes(st) > 0) && !inodes.dirty.has(slot)
  }

  /**
   * Gives a file that has no blocks in `st` one page of them if the guest may have data of it. Programs take a file without
   * blocks for a hole, and do not read it.
   */
  private showBlocks(slot: number, st: StatxWords): void {
    if (statxHasNoBlocks(st) && this.from.inodes.dirty.has(slot)) setStatxBlocks(st, PAGE_BLOCKS)
  }

  /** Returns true if another file system, or another part of one, is mounted on the directory `slot` in `parent`. */
  private isSubmount(slot: number, parent: number): boolean {
    const { agreed, inodes } = this.from
    return (
      agreed.announcesSubmounts &&
      inodes.deviceOf(slot) !== inodes.deviceOf(parent) &&
      inodes.typeOf(slot) === TYPE_DIRECTORY
    )
  }
}
