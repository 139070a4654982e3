import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS, chunkOf } from './slot-chunks.js'

const NOT_THERE = -1
/** Slot 0 is no inode: it marks both ends of the ring. */
const ENDS = 0

class Chunk {
  readonly next = new Int32Array(CHUNK_SLOTS).fill(NOT_THERE)
  readonly previous = new Int32Array(CHUNK_SLOTS).fill(NOT_THERE)
}

/** Slots of inodes that the guest has forgotten and may ask for again, oldest first: a ring of links. */
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

  /** The slot added first, or 0. */
  get oldest(): number {
    return chunkOf(this.chunks, ENDS, Chunk).next[ENDS]
  }

  add(slot: number): void {
    const newest = chunkOf(this.chunks, ENDS, Chunk).previous[ENDS]
    this.link(newest, slot)
    this.link(slot, ENDS)
    this.count++
  }

  /** Removes a slot of the ring. */
  remove(slot: number): void {
    const chunk = chunkOf(this.chunks, slot, Chunk)
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
    chunkOf(this.chunks, slot, Chunk).next[slot & CHUNK_MASK] = next
    chunkOf(this.chunks, next, Chunk).previous[next & CHUNK_MASK] = slot
  }
}
