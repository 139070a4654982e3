import { ENOLCK } from 'virtio-fs-ts/protocol'
import type { OpenFile } from '../files/open-file.js'
import type { MemoryAccount } from '../memory-account.js'
import { FileLocks } from './file-locks.js'
import { type ByteRange, isSameOwner, type OwnedRange, type Owner } from './owned-ranges.js'

/** Approximate memory of a lock, here and in the host's kernel. */
const BYTES_EACH = 512

/** The open files that carry an inode's record locks on the host. */
export interface LockCarriers {
  readonly nodeid: number
  readonly reader: OpenFile | undefined
  readonly writer: OpenFile | undefined
}

/** The record locks of the guest, by file. */
export class LockTable {
  private readonly byNode = new Map<number, FileLocks>()

  constructor(private readonly memory: MemoryAccount) {}

  of(nodeid: number): FileLocks | undefined {
    return this.byNode.get(nodeid)
  }

  /** The lock of another owner in the guest that prevents `wanted`. */
  holderInWayOf(wanted: OwnedRange): OwnedRange | undefined {
    return this.of(wanted.file.nodeid)?.ranges.inWayOf(wanted)
  }

  /** Takes a lock. Returns 0 or an error of FileLocks.take, or -ENOLCK if the guest holds too many. */
  take(wanted: OwnedRange): number {
    return this.put(wanted.file.nodeid, (locks) => locks.take(wanted))
  }

  /** Knows a lock that the guest holds already. Returns 0, an error of FileLocks.adopt, or -ENOLCK if there are too many. */
  adopt(held: OwnedRange): number {
    return this.put(held.file.nodeid, (locks) => locks.adopt(held))
  }

  private put(nodeid: number, add: (locks: FileLocks) => number): number {
    const locks = this.byNode.get(nodeid) ?? new FileLocks()
    // Counted beforehand: a lock on the middle of another one splits it, which makes three.
    if (!this.memory.hasRoom('locks', 2 * BYTES_EACH)) return -ENOLCK
    const before = locks.ranges.count
    const result = add(locks)
    this.memory.add('locks', (locks.ranges.count - before) * BYTES_EACH)
    if (result === 0) this.byNode.set(nodeid, locks)
    return result
  }

  /** Unlocks a range. Returns 1, 0 if the owner held nothing of it, or -ENOLCK without memory to split a lock. */
  unlock(nodeid: number, owner: Owner, bytes: ByteRange): number {
    const splits = this.byNode.get(nodeid)?.ranges.isInside(owner, bytes) === true
    if (splits && !this.memory.hasRoom('locks', BYTES_EACH)) return -ENOLCK
    return this.change(nodeid, (locks) => locks.giveUp(owner, bytes)) ? 1 : 0
  }

  /** Drops all locks of an owner on a file. Returns true if there were any. */
  dropOwner(nodeid: number, owner: Owner): boolean {
    return this.change(nodeid, (locks) => locks.giveUpThose((range) => isSameOwner(range, owner)))
  }

  /** Drops the locks taken through a handle. Returns true if there were any. */
  dropHandle(file: OpenFile): boolean {
    return this.change(file.nodeid, (locks) => locks.giveUpThose((range) => range.file === file))
  }

  /** All locks. */
  *all(): Generator<OwnedRange> {
    for (const locks of this.byNode.values()) yield* locks.ranges.all()
  }

  *carriers(): Generator<LockCarriers> {
    for (const [nodeid, locks] of this.byNode) yield { nodeid, ...locks.carriers }
  }

  adoptCarriers({ nodeid, ...carriers }: LockCarriers): void {
    const locks = new FileLocks()
    locks.adoptCarriers(carriers)
    this.byNode.set(nodeid, locks)
  }

  clear(): void {
    for (const nodeid of [...this.byNode.keys()])
      this.change(nodeid, (locks) => locks.giveUpThose(() => true))
  }

  private change(nodeid: number, work: (locks: FileLocks) => boolean): boolean {
    const locks = this.byNode.get(nodeid)
    if (locks === undefined) return false
    const before = locks.ranges.count
    const changed = work(locks)
    this.memory.add('locks', (locks.ranges.count - before) * BYTES_EACH)
    if (locks.ranges.count === 0) this.byNode.delete(nodeid)
    return changed
  }
}
