import { FIRST_CAPACITY, SHARDS, type ShardPlace } from '../inodes/inode-index.js'

/** The words of a shard: where it begins, in words, and its length. */
const AT = 0
const CAPACITY = 1
const EACH = 2
/** Behind them: the end of what is in use. */
const END = SHARDS * EACH

/** A shard that has grown leaves its former place unused: together these are shorter than what is in use. */
const BYTES_PER_SLOT = 4 * 4 * 2

const MAX_BYTES = 2 ** 32
/** Memory is asked for in steps. */
const STEP_BYTES = 1 << 20

/** The shards of the index of inodes, in memory that grows. All is done under the lock of the tables. */
export class SharedShards implements ShardPlace {
  static readonly WORDS = END + 1
  private readonly seen: (Int32Array | undefined)[] = new Array(SHARDS).fill(undefined)

  /** `words`: WORDS numbers, 0 at first. */
  constructor(
    private readonly words: Int32Array,
    private readonly memory: SharedArrayBuffer,
  ) {}

  static maxBytes(slots: number): number {
    return Math.min(MAX_BYTES, slots * BYTES_PER_SLOT)
  }

  at(n: number): Int32Array {
    const capacity = this.words[EACH * n + CAPACITY]
    if (capacity === 0) return this.grow(n, FIRST_CAPACITY)
    const shard = this.seen[n]
    return shard?.length === capacity ? shard : this.see(n)
  }

  grow(n: number, capacity: number): Int32Array {
    const { words, memory } = this
    const at = words[END]
    const endBytes = 4 * (at + capacity)
    if (memory.byteLength < endBytes)
      memory.grow(Math.min(memory.maxByteLength, Math.ceil(endBytes / STEP_BYTES) * STEP_BYTES))
    words[END] = at + capacity
    words[EACH * n + AT] = at
    words[EACH * n + CAPACITY] = capacity
    return this.see(n)
  }

  clear(n: number): void {
    this.at(n).fill(0)
  }

  private see(n: number): Int32Array {
    const shard = new Int32Array(this.memory, 4 * this.words[EACH * n + AT], this.words[EACH * n + CAPACITY])
    this.seen[n] = shard
    return shard
  }
}
