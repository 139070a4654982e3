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

/** Blocks of 512 bytes in a page. */
const PAGE_BLOCKS = 8

/** Node ids are never used twice in a session. */
const GENERATION = 0

/** The parts of the share that replies use. */
interface Sources {
  readonly inodes: InodeTable
  readonly paths: HostPaths
  readonly identities: Identities
  readonly rules: OpenRules
  readonly agreed: Agreed
}

/** Builds replies from the attributes that the caller passes, and says how long the guest may cache them. */
export class Replies {
  constructor(private readonly from: Sources) {}

  /** A fuse_entry_out of `slot`, found in directory `parent`. A negative `slot` is an errno and becomes the reply. */
  entry(request: Request, slot: number, parent: number, st: StatxWords): number {
    if (slot < 0) return slot
    this.writeEntry(request, 0, slot, parent, st)
    return EntryOut.BYTES
  }

  /** Replies that a name does not exist. The share sets how long the guest may cache this. */
  noEntry(request: Request): number {
    const { negativeTimeoutSec } = this.from.rules.base
    if (negativeTimeoutSec === 0 || !this.from.agreed.keepsAbsence) return -ENOENT
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

  /** Writes a fuse_entry_out of `slot`, found in directory `parent`, to the reply at byte `at`, a multiple of 4. */
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

  /** Writes the fuse_attr of a slot, and remembers the values that the guest gets. */
  private writeAttr(slot: number, words: Int32Array, w: number, st: StatxWords, attrFlags: number): void {
    const { identities, inodes, agreed } = this.from
    this.showBlocks(slot, st)
    Attr.write(words, w, st, attrFlags)
    if (identities.differ) identities.translateAttr(words, w)
    if (agreed.keepsUnchanged && inodes.typeOf(slot) === TYPE_REGULAR) inodes.versions.told(slot, st)
  }

  /** The caching policy of an inode's name and attributes. */
  private policyOf(slot: number): CachePolicy {
    const { rules, paths } = this.from
    if (!rules.changesTimeouts) return rules.base
    const path = paths.of(slot)
    // The rule is not known before the name is looked up again.
    if (path === undefined && paths.isUnnamed(slot))
      return { ...rules.base, entryTimeoutSec: 0, attrTimeoutSec: 0 }
    return rules.forName(path).policy
  }

  /**
   * How long attributes are valid: 0 in two cases. If the device clears set-id bits on a change of contents, the guest's
   * kernel does not look for a new mode, and must not have cached the old one. The guest must also not cache that a file has
   * no blocks, because it may soon write to the file in its page cache.
   */
  private attrTimeoutSec(slot: number, policy: CachePolicy, st: StatxWords): number {
    if (this.from.agreed.killsPrivileges && isSetIdFile(Statx.mode(st))) return 0
    return this.mayGetBlocks(slot, st) ? 0 : policy.attrTimeoutSec
  }

  /** Returns true for a file without blocks that the guest could fill in its page cache without telling the device. */
  private mayGetBlocks(slot: number, st: StatxWords): boolean {
    const { inodes } = this.from
    if (!statxHasNoBlocks(st) || inodes.typeOf(slot) !== TYPE_REGULAR) return false
    return (inodes.dirty.writesBack || Statx.sizeBytes(st) > 0) && !inodes.dirty.has(slot)
  }

  /**
   * Adds one page of blocks to a file without blocks in `st` if the guest may have data of it. Programs take a file without
   * blocks for a hole and do not read it.
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
