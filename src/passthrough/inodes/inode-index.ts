/** The identity of an inode on the host: device (by our own small number) and inode number. */
export interface InodeKeys {
  deviceOf(slot: number): number
  inoLowOf(slot: number): number
  inoHighOf(slot: number): number
}

const SHARD_BITS = 8
export const SHARDS = 1 << SHARD_BITS
export const FIRST_CAPACITY = 16
const EMPTY = 0

/** The memory of the index's shards. */
export interface ShardPlace {
  at(n: number): Int32Array
  /** Replaces a shard by a larger one, of zeros, and returns that. The former one can still be read. */
  grow(n: number, capacity: number): Int32Array
  /** Empties a shard. */
  clear(n: number): void
}

/** Shards in memory of one thread. */
export class OwnShards implements ShardPlace {
  private readonly shards = Array.from({ length: SHARDS }, () => new Int32Array(FIRST_CAPACITY))

  at(n: number): Int32Array {
    return this.shards[n]
  }

  grow(n: number, capacity: number): Int32Array {
    this.shards[n] = new Int32Array(capacity)
    return this.shards[n]
  }

  clear(n: number): void {
    this.shards[n] = new Int32Array(FIRST_CAPACITY)
  }
}

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
  constructor(
    private readonly keys: InodeKeys,
    private readonly shards: ShardPlace,
    /** The number of inodes in each shard. */
    private readonly counts: Int32Array,
  ) {}

  clear(): void {
    for (let n = 0; n < SHARDS; n++) if (this.counts[n] > 0) this.shards.clear(n)
    this.counts.fill(0, 0, SHARDS)
  }

  /** Makes room for so many inodes at once: to grow step by step takes longer. */
  reserve(count: number): void {
    let capacity = FIRST_CAPACITY
    while (SHARDS * capacity < 2 * count) capacity *= 2
    for (let n = 0; n < SHARDS; n++) if (this.shards.at(n).length < capacity) this.grow(n, capacity)
  }

  /** Returns the slot, or 0 if this inode is not known. */
  find(device: number, inoLow: number, inoHigh: number): number {
    const h = hash(device, inoLow, inoHigh)
    const shard = this.shards.at(h >>> (32 - SHARD_BITS))
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
    const shard = this.shards.at(n)
    insert(2 * ++this.counts[n] > shard.length ? this.grow(n, 2 * shard.length) : shard, h, slot)
  }

  /** Removes a known slot. Its keys are still set. */
  remove(slot: number): void {
    const h = this.hashOf(slot)
    const n = h >>> (32 - SHARD_BITS)
    const shard = this.shards.at(n)
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

  private grow(n: number, capacity: number): Int32Array {
    const shard = this.shards.at(n)
    const larger = this.shards.grow(n, capacity)
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
