import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList, ownChunks } from './slot-chunks.js'

const NOT_THERE = -1
/** Slot 0 is no inode: it marks both ends of the ring. */
const ENDS = 0

class Chunk {
  readonly next: Int32Array
  readonly previous: Int32Array

  constructor(arrays: ChunkArrays) {
    this.next = arrays.int32(CHUNK_SLOTS)
    this.previous = arrays.int32(CHUNK_SLOTS)
  }
}

/** Slots of inodes that the guest has forgotten and may ask for again, oldest first: a ring of links. */
export class GivenBackInodes {
  private readonly chunks = new ChunkList(Chunk, ownChunks, ({ next }) => next.fill(NOT_THERE))
  count = 0

  constructor() {
    this.clear()
  }

  has(slot: number): boolean {
    const chunk = this.chunks.at(slot)
    return chunk !== undefined && chunk.next[slot & CHUNK_MASK] !== NOT_THERE
  }

  /** The slot added first, or 0. */
  get oldest(): number {
    return this.chunks.of(ENDS).next[ENDS]
  }

  add(slot: number): void {
    const newest = this.chunks.of(ENDS).previous[ENDS]
    this.link(newest, slot)
    this.link(slot, ENDS)
    this.count++
  }

  /** Removes a slot of the ring. */
  remove(slot: number): void {
    const chunk = this.chunks.of(slot)
    const at = slot & CHUNK_MASK
    this.link(chunk.previous[at], chunk.next[at])
    chunk.next[at] = NOT_THERE
    this.count--
  }

  clear(): void {
    this.chunks.clear()
    this.count = 0
    this.link(ENDS, ENDS)
  }

  private link(slot: number, next: number): void {
    this.chunks.of(slot).next[slot & CHUNK_MASK] = next
    this.chunks.of(next).previous[next & CHUNK_MASK] = slot
  }
}
