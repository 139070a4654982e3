/** The identity of an inode on the host: device (by our own small number) and inode number. */
export interface InodeKeys {
  deviceOf(slot: number): number
  inoLowOf(slot: number): number
  inoHighOf(slot: number): number
}

const SHARD_BITS = 8
const FIRST_CAPACITY = 16
const EMPTY = 0

function hash(device: number, inoLow: number, inoHigh: number): number {
  let h = Math.imul(inoLow, 0x9e3779b1) ^ Math.imul(inoHigh, 0x85ebca6b) ^ Math.imul(device, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39)
  return h ^ (h >>> 15)
}

/**
 * An open-addressing hash table of slots, with linear probing and without tombstones. It costs 4 to 16 bytes per inode and
 * gives the garbage collector no work. Its 256 shards grow one at a time, so growth never stops the guest for long.
 */
export class InodeIndex {
  private readonly shards: Int32Array[]
  private readonly counts = new Int32Array(1 << SHARD_BITS)

  constructor(private readonly keys: InodeKeys) {
    this.shards = Array.from({ length: 1 << SHARD_BITS }, () => new Int32Array(FIRST_CAPACITY))
  }

  clear(): void {
    for (let n = 0; n < this.shards.length; n++) {
      if (this.counts[n] > 0) this.shards[n] = new Int32Array(FIRST_CAPACITY)
    }
    this.counts.fill(0)
  }

  /** Makes room for so many inodes at once: to grow step by step takes longer. */
  reserve(count: number): void {
    let capacity = FIRST_CAPACITY
    while (2 ** SHARD_BITS * capacity < 2 * count) capacity *= 2
    for (const [n, shard] of this.shards.entries())
      if (shard.length < capacity) this.shards[n] = this.copied(shard, capacity)
  }

  /** Returns the slot, or 0 if this inode is not known. */
  find(device: number, inoLow: number, inoHigh: number): number {
    const h = hash(device, inoLow, inoHigh)
    const shard = this.shards[h >>> (32 - SHARD_BITS)]
    const mask = shard.length - 1
    for (let at = h & mask; ; at = (at + 1) & mask) {
      const slot = shard[at]
      if (slot === EMPTY || this.matches(slot, device, inoLow, inoHigh)) return slot
    }
  }

  /** Adds a new slot. The caller has set its keys. */
  add(slot: number): void {
    const h = this.hashOf(slot)
    const n = h >>> (32 - SHARD_BITS)
    if (2 * ++this.counts[n] > this.shards[n].length)
      this.shards[n] = this.copied(this.shards[n], 2 * this.shards[n].length)
    insert(this.shards[n], h, slot)
  }

  /** Removes a known slot. Its keys are still set. */
  remove(slot: number): void {
    const h = this.hashOf(slot)
    const n = h >>> (32 - SHARD_BITS)
    const shard = this.shards[n]
    const mask = shard.length - 1
    let hole = h & mask
    while (shard[hole] !== slot) hole = (hole + 1) & mask
    // Moves back each entry that the hole would separate from the place of its hash.
    for (let at = (hole + 1) & mask; shard[at] !== EMPTY; at = (at + 1) & mask) {
      const wanted = this.hashOf(shard[at]) & mask
      if (((at - wanted) & mask) >= ((at - hole) & mask)) {
        shard[hole] = shard[at]
        hole = at
      }
    }
    shard[hole] = EMPTY
    this.counts[n]--
  }

  private hashOf(slot: number): number {
    const { keys } = this
    return hash(keys.deviceOf(slot), keys.inoLowOf(slot), keys.inoHighOf(slot))
  }

  private matches(slot: number, device: number, inoLow: number, inoHigh: number): boolean {
    const { keys } = this
    return (
      keys.inoLowOf(slot) === inoLow && keys.deviceOf(slot) === device && keys.inoHighOf(slot) === inoHigh
    )
  }

  private copied(shard: Int32Array, capacity: number): Int32Array {
    const larger = new Int32Array(capacity)
    for (const slot of shard) if (slot !== EMPTY) insert(larger, this.hashOf(slot), slot)
    return larger
  }
}

function insert(shard: Int32Array, h: number, slot: number): void {
  const mask = shard.length - 1
  let at = h & mask
  while (shard[at] !== EMPTY) at = (at + 1) & mask
  shard[at] = slot
}
