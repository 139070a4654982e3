const CHUNK_BITS = 14
const CHUNK_SLOTS = 1 << CHUNK_BITS
const CHUNK_MASK = CHUNK_SLOTS - 1
const NOT_THERE = -1
/** Slot 0 is no inode: the ring begins and ends there. */
const ENDS = 0

class Chunk {
  readonly next = new Int32Array(CHUNK_SLOTS).fill(NOT_THERE)
  readonly previous = new Int32Array(CHUNK_SLOTS).fill(NOT_THERE)
}

/** Slots of inodes that the guest has given back and may ask for again, the oldest first: a ring of links. */
export class GivenBackInodes {
  private readonly chunks: Chunk[] = []
  count = 0

  constructor() {
    this.clear()
  }

  has(slot: number): boolean {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    return chunk !== undefined && chunk.next[slot & CHUNK_MASK] !== NOT_THERE
  }

  /** The slot that was added first, or 0. */
  get oldest(): number {
    return this.chunkOf(ENDS).next[ENDS]
  }

  add(slot: number): void {
    const newest = this.chunkOf(ENDS).previous[ENDS]
    this.link(newest, slot)
    this.link(slot, ENDS)
    this.count++
  }

  /** Takes out a slot that is there. */
  remove(slot: number): void {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    this.link(chunk.previous[at], chunk.next[at])
    chunk.next[at] = NOT_THERE
    this.count--
  }

  clear(): void {
    this.chunks.length = 0
    this.count = 0
    this.link(ENDS, ENDS)
  }

  private link(slot: number, next: number): void {
    this.chunkOf(slot).next[slot & CHUNK_MASK] = next
    this.chunkOf(next).previous[next & CHUNK_MASK] = slot
  }

  private chunkOf(slot: number): Chunk {
    const n = slot >>> CHUNK_BITS
    let chunk = this.chunks[n]
    if (chunk === undefined) {
      chunk = new Chunk()
      this.chunks[n] = chunk
    }
    return chunk
  }
}
