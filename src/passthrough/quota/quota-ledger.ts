import { EDQUOT, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { statxBytes } from '../inodes/statx.js'
import type { TreeCount } from './count-tree.js'
import { CountedInode } from './counted-inode.js'

/** The most that a share's tree may hold. Undefined: as much as the host has. */
export interface QuotaLimits {
  readonly bytes: number | undefined
  readonly inodes: number | undefined
}

/** A change may need this much more than its data: the rest of its first and last block, and blocks that find data. */
const SLACK_BYTES = 8192
/** When all bytes are used up, directories may grow by so much more because names in them change. */
const MOST_BEYOND_BYTES = 256 * 1024
/** The most files that may wait to be measured. */
const MOST_CHANGED = 256
/** The most pieces of a range that are examined; the rest of it counts as missing. */
const MOST_PIECES = 1000

const { SEEK_DATA, SEEK_HOLE } = native.constants

/** Fills `st` with the attributes of an inode. Returns 0 or a negative errno. */
export type StatInode = (inode: CountedInode, st: StatxWords) => number

/**
 * Counts what the tree of a share holds against its quota: blocks and inodes. A change adds the most that it can need, and
 * files are measured only when that sum comes to the limit: a write far from it costs some additions.
 */
export class QuotaLedger {
  usedBytes = 0
  usedInodes = 0
  limits: QuotaLimits
  /** The most that changes may have added since their files were measured, and that those in flight may add. */
  private growthBytes = 0
  private pendingBytes = 0
  /** The growth of directories by renames since all bytes were used up. */
  private beyondBytes = 0
  private readonly changed = new Set<CountedInode>()
  private readonly inodes = new Map<string, CountedInode>()
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(
    limits: QuotaLimits,
    count: TreeCount,
    private readonly stat: StatInode,
  ) {
    this.limits = limits
    this.usedBytes = count.bytes
    this.usedInodes = count.inodes
  }

  find(identity: string): CountedInode | undefined {
    return this.inodes.get(identity)
  }

  /** Returns the inode of an identity. */
  take(identity: string): CountedInode {
    let inode = this.inodes.get(identity)
    if (inode === undefined) {
      inode = new CountedInode(identity)
      this.inodes.set(identity, inode)
    }
    return inode
  }

  /** Measures an inode for the first time, before it changes. */
  begin(inode: CountedInode): void {
    if (inode.bytes < 0 && this.stat(inode, this.st) === 0) inode.bytes = statxBytes(this.st)
  }

  /** A new inode, or one that has just been made: all that it holds is added. */
  made(inode: CountedInode): void {
    this.usedInodes++
    inode.bytes = 0
    this.look(inode)
  }

  /** Says that an inode may have grown by `bytes` since `begin`. */
  grew(inode: CountedInode, bytes: number): void {
    const more = bytes + SLACK_BYTES
    inode.growthBytes += more
    this.growthBytes += more
    this.changed.add(inode)
    if (this.changed.size > MOST_CHANGED) this.settle()
  }

  /** A change of at most `bytes` goes on in the background, until `ended`. */
  pending(bytes: number): void {
    this.pendingBytes += bytes
  }

  ended(inode: CountedInode, bytes: number): void {
    this.pendingBytes -= bytes
    this.grew(inode, bytes)
  }

  /**
   * Returns 0 if so many bytes of a file may be written from an offset on, or -EDQUOT. Data that is there already needs no
   * room. `fd`: the open file.
   */
  admit(fd: number, offsetBytes: number, lenBytes: number): number {
    const { bytes: limit } = this.limits
    if (limit === undefined) return 0
    if (this.most + lenBytes + SLACK_BYTES <= limit) return 0
    this.settle()
    if (this.most + lenBytes <= limit) return 0
    const missing = missingBytes(fd, offsetBytes, lenBytes)
    return missing === 0 || this.most + missing <= limit ? 0 : -EDQUOT
  }

  /** Returns how many of `lenBytes` may be copied to a place in a file. 0: none. */
  roomFor(fd: number, offsetBytes: number, lenBytes: number): number {
    if (this.admit(fd, offsetBytes, lenBytes) === 0) return lenBytes
    return Math.max(0, Math.min(lenBytes, (this.limits.bytes ?? 0) - this.most))
  }

  /** Returns 0 if another name may be made, or -EDQUOT. `inodes`: how many inodes come with it. */
  admitName(inodes: number): number {
    const { bytes, inodes: most } = this.limits
    if (most !== undefined && this.usedInodes + inodes > most) return -EDQUOT
    if (bytes === undefined || this.most + SLACK_BYTES <= bytes) return 0
    this.settle()
    return this.most < bytes ? 0 : -EDQUOT
  }

  /**
   * Carries out a rename to a name that is not there, which may make the directory `inode` grow. Renames go on when all
   * bytes are used up, but not without end: names of 255 bytes, moved through many directories, would fill the disk.
   */
  rename(inode: CountedInode | undefined, work: () => number): number {
    const { bytes } = this.limits
    if (bytes === undefined || inode === undefined) return work()
    if (this.most + SLACK_BYTES > bytes) this.settle()
    if (this.most < bytes) this.beyondBytes = 0
    if (this.most + SLACK_BYTES <= bytes) return work()
    if (this.beyondBytes >= MOST_BEYOND_BYTES) return -EDQUOT
    const usedBefore = this.usedBytes
    const result = work()
    this.measure(inode)
    this.beyondBytes += Math.max(0, this.usedBytes - usedBefore)
    return result
  }

  /** The guest has removed the last name of an inode, whose attributes were `st`. */
  removed(inode: CountedInode | undefined, st: StatxWords): void {
    if (inode === undefined) {
      this.usedBytes = Math.max(0, this.usedBytes - statxBytes(st))
      this.usedInodes--
      return
    }
    if (inode.bytes < 0) inode.bytes = statxBytes(st)
    inode.isOrphan = true
    this.letGo(inode)
  }

  /** Forgets an inode that the guest neither knows nor has open. */
  letGo(inode: CountedInode): void {
    if (inode.slot !== 0 || inode.files.size > 0) return
    this.measure(inode)
    if (inode.isOrphan) {
      this.usedBytes = Math.max(0, this.usedBytes - Math.max(0, inode.bytes))
      this.usedInodes--
    }
    this.inodes.delete(inode.identity)
  }

  /** Measures everything that has changed. */
  settle(): void {
    for (const inode of [...this.changed]) this.look(inode)
  }

  /** Measures one inode, if it has changed. */
  measure(inode: CountedInode): void {
    if (this.changed.has(inode)) this.look(inode)
  }

  /** Measures one inode, if it is still there. */
  private look(inode: CountedInode): void {
    this.changed.delete(inode)
    this.growthBytes -= inode.growthBytes
    inode.growthBytes = 0
    if (inode.bytes < 0 || this.stat(inode, this.st) < 0) return
    const bytes = statxBytes(this.st)
    this.usedBytes = Math.max(0, this.usedBytes + bytes - inode.bytes)
    inode.bytes = bytes
  }

  /** The session is over: nothing is known or open any more. */
  endSession(): void {
    for (const inode of [...this.inodes.values()]) {
      inode.slot = 0
      inode.files.clear()
      this.letGo(inode)
    }
    this.pendingBytes = 0
  }

  /** Takes over a new count of the tree. Files without a name are added: the count does not find them. */
  recounted({ bytes, inodes }: TreeCount): void {
    this.settle()
    const { orphans } = this
    this.usedBytes = bytes + orphans.reduce((sum, inode) => sum + Math.max(0, inode.bytes), 0)
    this.usedInodes = inodes + orphans.length
    for (const inode of this.inodes.values()) if (!inode.isOrphan) inode.bytes = -1
  }

  /** Inodes without a name, which are counted until the guest lets go of them. */
  get orphans(): readonly CountedInode[] {
    return [...this.inodes.values()].filter(({ isOrphan }) => isOrphan)
  }

  private get most(): number {
    return this.usedBytes + this.growthBytes + this.pendingBytes
  }
}

/** The bytes of a range that are holes, or lie behind the end. */
function missingBytes(fd: number, offsetBytes: number, lenBytes: number): number {
  const end = offsetBytes + lenBytes
  let missing = 0
  let at = offsetBytes
  for (let piece = 0; piece < MOST_PIECES && at < end; piece++) {
    const data = native.lseek(fd, at, SEEK_DATA)
    // No data behind it, or a file system that cannot say.
    if (data < 0 || data >= end) return missing + end - at
    missing += data - at
    const hole = native.lseek(fd, data, SEEK_HOLE)
    at = hole < 0 ? end : Math.min(hole, end)
  }
  return missing + end - at
}
