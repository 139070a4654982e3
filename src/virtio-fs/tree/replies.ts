import type { CachePolicy } from '../cache-policy.js'
import { ENOENT } from '../errno.js'
import type { ReplyPlace } from '../request.js'
import { Attr, AttrOut } from '../wire/attr.js'
import { EntryOut } from '../wire/entry.js'
import { Statx, StatxOut } from '../wire/statx.js'
import { timeoutSec, writeStatx } from './attributes.js'
import type { Found, FoundNodes } from './found-nodes.js'
import { MethodError } from './method-error.js'
import type { Attributes, FsNode } from './node.js'
import type { KnownNode, NodeTable } from './node-table.js'
import type { TreePolicy } from './policy.js'
import { isSetIdFile } from './privileges.js'

/** Builds replies with attributes and the times for which the guest may cache them. */
export class TreeReplies {
  /** Filled and read within one reply. */
  private readonly st = new Int32Array(Statx.WORDS)

  /** The guest caches that a name does not exist. */
  keepsAbsence = false

  constructor(
    private readonly nodes: NodeTable,
    private readonly found: FoundNodes,
    private readonly policy: TreePolicy,
  ) {}

  /** A fuse_entry_out for the node of a name. Counts a lookup. */
  entry(to: ReplyPlace, found: Found, parent: KnownNode, name: string): number {
    this.writeEntry(to.replyWords, 0, found, parent, name)
    return EntryOut.BYTES
  }

  noEntry(to: ReplyPlace): number {
    const { negativeTimeoutSec } = this.policy.base
    if (negativeTimeoutSec === 0 || !this.keepsAbsence) return -ENOENT
    EntryOut.writeNothing(to.replyWords, 0, negativeTimeoutSec)
    return EntryOut.BYTES
  }

  attr(to: ReplyPlace, known: KnownNode, attributes: Attributes): number {
    const words = to.replyWords
    this.take(known, known.node, attributes)
    AttrOut.writeHead(words, 0, this.attrSec(attributes, this.policyOf(known)))
    Attr.write(words, AttrOut.ATTR_AT >> 2, this.st, 0)
    return AttrOut.BYTES
  }

  statx(to: ReplyPlace, known: KnownNode, attributes: Attributes): number {
    this.take(known, known.node, attributes)
    StatxOut.write(to.replyWords, 0, this.attrSec(attributes, this.policyOf(known)), this.st)
    return StatxOut.BYTES
  }

  /** Writes a fuse_entry_out at word `w` and counts a lookup. Returns the node. */
  writeEntry(words: Int32Array, w: number, found: Found, parent: KnownNode, name: string): KnownNode {
    const { node, attributes } = found
    // This checks the attributes before a lookup is counted.
    this.write(attributes, node, 0)
    const generation = attributes.generation ?? 0
    const known = this.nodes.enter(node, parent, name)
    this.take(known, node, attributes)
    const policy = this.policyOf(known)
    const entrySec = timeoutSec('entryTimeoutSec', attributes.entryTimeoutSec, policy.entryTimeoutSec)
    EntryOut.writeHead(words, w, known.id, generation, entrySec, this.attrSec(attributes, policy))
    Attr.write(words, w + (EntryOut.ATTR_AT >> 2), this.st, 0)
    this.found.arrived(found)
    return known
  }

  private take(known: KnownNode, node: FsNode, attributes: Attributes): void {
    this.write(attributes, node, known.ino)
    known.type = Statx.mode(this.st) >>> 12
  }

  /** Errors about invalid attributes name the method `stat`. */
  private write(attributes: Attributes, node: FsNode, ino: number): void {
    try {
      writeStatx(this.st, attributes, node, ino)
      timeoutSec('attrTimeoutSec', attributes.attrTimeoutSec, 0)
      timeoutSec('entryTimeoutSec', attributes.entryTimeoutSec, 0)
    } catch (error) {
      throw new MethodError('stat', error)
    }
  }

  private policyOf(known: KnownNode): CachePolicy {
    const { policy } = this
    return policy.changesTimeouts ? policy.forName(this.nodes.pathOf(known.id)).policy : policy.base
  }

  /** A direct write may take set-id bits. Linux does not look for the new mode then, and must not have cached the old one. */
  private attrSec({ attrTimeoutSec }: Attributes, policy: CachePolicy): number {
    return attrTimeoutSec ?? (isSetIdFile(Statx.mode(this.st)) ? 0 : policy.attrTimeoutSec)
  }
}
