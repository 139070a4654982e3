import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS, chunkOf } from './slot-chunks.js'

class Chunk {
  /** Handles of the guest through which it may write to its page cache. */
  readonly writers = new Int32Array(CHUNK_SLOTS)
  /** 1: the guest has pages of the file. */
  readonly pages = new Uint8Array(CHUNK_SLOTS)
}

/**
 * Files of which the guest may have data that the host has not seen, by slot. What the host says of their data, holes and
 * blocks is not what the guest has.
 *
 * With write-back that is each file open for writing. Without, only a shared mapping makes pages dirty; they have to come
 * into the guest's page cache first, by a READ that is marked. The last handle for writing goes when all is written back.
 */
export class DirtyFiles {
  /** What was agreed on at INIT. */
  writesBack = false
  private readonly chunks: (Chunk | undefined)[] = []

  has(slot: number): boolean {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    const at = slot & CHUNK_MASK
    return chunk !== undefined && chunk.writers[at] > 0 && (this.writesBack || chunk.pages[at] === 1)
  }

  addWriter(slot: number): void {
    chunkOf(this.chunks, slot, Chunk).writers[slot & CHUNK_MASK]++
  }

  removeWriter(slot: number): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk !== undefined) chunk.writers[slot & CHUNK_MASK]--
  }

  /** The guest reads into its page cache. */
  filled(slot: number): void {
    chunkOf(this.chunks, slot, Chunk).pages[slot & CHUNK_MASK] = 1
  }

  /** The guest writes back what is dirty, and throws its pages away. */
  dropped(slot: number): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk !== undefined) chunk.pages[slot & CHUNK_MASK] = 0
  }

  /** The slot stands for another file from now on. */
  forget(slot: number): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk === undefined) return
    chunk.writers[slot & CHUNK_MASK] = 0
    chunk.pages[slot & CHUNK_MASK] = 0
  }

  clear(): void {
    this.chunks.length = 0
  }
}
