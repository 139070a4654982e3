import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS, chunkOf } from './slot-chunks.js'

class Chunk {
  /** Guest handles through which the guest's page cache may be written. */
  readonly writers = new Int32Array(CHUNK_SLOTS)
  /** 1 if the guest has cached pages of the file. */
  readonly pages = new Uint8Array(CHUNK_SLOTS)
}

/**
 * Files of which the guest may hold data that the host has not seen, by slot. The host's view of their data, holes and
 * blocks may differ from the guest's.
 *
 * With write-back, these are all files open for writing. Without it, only a shared mapping makes pages dirty, and a READ
 * marked as filling the page cache must load those pages first. The guest releases its last writing handle after it has
 * written everything back.
 */
export class DirtyFiles {
  /** INIT agreed on write-back. */
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

  /** The guest writes its dirty pages back and drops all pages. */
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
