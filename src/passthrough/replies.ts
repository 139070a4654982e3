import type { CachePolicy } from '../io-mode/cache-policy.js'
import { FUSE_ATTR_SUBMOUNT } from '../virtio-fs/abi.js'
import { ENOENT } from '../virtio-fs/errno.js'
import type { Request } from '../virtio-fs/request.js'
import { AttrOut, EntryOut } from '../virtio-fs/wire.js'
import { TYPE_DIRECTORY, TYPE_REGULAR } from './inodes/inode-table.js'
import { statxMode, writeAttr } from './inodes/statx.js'
import { isSetIdFile } from './owners/privileges.js'
import type { Share } from './share.js'

/** Replies that carry an inode's attributes, and for how long the guest may believe them. */
export class Replies {
  constructor(private readonly share: Share) {}

  /** A fuse_entry_out of `slot`, found in directory `parent`. `slot` may be a negative errno: then that is the reply. */
  entry(request: Request, slot: number, parent: number): number {
    if (slot < 0) return slot
    this.writeEntry(request, 0, slot, parent)
    return EntryOut.BYTES
  }

  /** That a name is not there; for how long the guest may believe that is the share's choice. */
  noEntry(request: Request): number {
    const { negativeTimeoutSec } = this.share.options.rules.base
    if (negativeTimeoutSec === 0) return -ENOENT
    const words = request.replyWords
    words.fill(0, 0, EntryOut.BYTES >> 2)
    writeTimeout(words, 4, 8, negativeTimeoutSec)
    return EntryOut.BYTES
  }

  /** A fuse_attr_out of the inode as it is now. */
  attr(request: Request, slot: number): number {
    const result = this.share.stat(slot)
    if (result < 0) return result
    const words = request.replyWords
    this.writeAttrTimeout(request, slot)
    words[3] = 0
    this.writeAttr(slot, words, AttrOut.ATTR_AT >> 2, 0)
    return AttrOut.BYTES
  }

  /**
   * Puts a fuse_entry_out of `slot`, found in directory `parent`, into the reply at byte `at`, a multiple of 4, from the
   * attributes in the share's `st`.
   */
  writeEntry(request: Request, at: number, slot: number, parent: number): void {
    const policy = this.policyOf(slot)
    const words = request.replyWords
    const w = at >> 2
    const nodeid = this.share.inodes.idOf(slot)
    words[w] = nodeid % 0x1_0000_0000
    words[w + 1] = Math.floor(nodeid / 0x1_0000_0000)
    words[w + 2] = 0
    words[w + 3] = 0
    writeTimeout(words, w + 4, w + 8, policy.entryTimeoutSec)
    writeTimeout(words, w + 6, w + 9, this.attrTimeoutSec(policy))
    const attrFlags = this.isSubmount(slot, parent) ? FUSE_ATTR_SUBMOUNT : 0
    this.writeAttr(slot, words, w + (EntryOut.ATTR_AT >> 2), attrFlags)
  }

  /** How long attributes are valid: the first three words of the reply. */
  writeAttrTimeout(request: Request, slot: number): void {
    writeTimeout(request.replyWords, 0, 2, this.attrTimeoutSec(this.policyOf(slot)))
  }

  /** Writes the fuse_attr of a slot from the share's `st`, and remembers what the guest has been told. */
  private writeAttr(slot: number, words: Int32Array, at: number, attrFlags: number): void {
    const { st, identities, inodes, keepsUnchanged } = this.share
    writeAttr(st, words, at, attrFlags)
    if (identities.differ) identities.translateAttr(words, at)
    if (keepsUnchanged && inodes.typeOf(slot) === TYPE_REGULAR) inodes.versions.told(slot, st)
  }

  /** What the guest is told about caching an inode's name and attributes. */
  private policyOf(slot: number): CachePolicy {
    const { rules } = this.share.options
    return rules.changesTimeouts ? rules.forName(this.share.pathOfSlot(slot)).policy : rules.base
  }

  /**
   * How long the attributes in `st` are valid. Where the bits are taken here with a change of contents, the guest's kernel
   * does not look for another mode behind it: it must not have believed the old one.
   */
  private attrTimeoutSec(policy: CachePolicy): number {
    const { killsPrivileges, st } = this.share
    return killsPrivileges && isSetIdFile(statxMode(st)) ? 0 : policy.attrTimeoutSec
  }

  /** Whether another file system, or another part of one, is mounted on the directory `slot` in `parent`. */
  private isSubmount(slot: number, parent: number): boolean {
    const { announcesSubmounts, inodes } = this.share
    return (
      announcesSubmounts &&
      inodes.deviceOf(slot) !== inodes.deviceOf(parent) &&
      inodes.typeOf(slot) === TYPE_DIRECTORY
    )
  }
}

function writeTimeout(words: Int32Array, atSec: number, atNsec: number, seconds: number): void {
  const whole = Math.floor(seconds)
  words[atSec] = whole
  words[atSec + 1] = 0
  words[atNsec] = Math.round((seconds - whole) * 1e9)
}
