import type { TableGuard } from '../shared/table-guard.js'
import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList } from './slot-chunks.js'
import type { TableSpace } from './table-space.js'

class Chunk {
  /** Guest handles through which the guest's page cache may be written. */
  readonly writers: Int32Array
  /** 1 if the guest has cached pages of the file. */
  readonly pages: Uint8Array

  constructor(arrays: ChunkArrays) {
    this.writers = arrays.int32(CHUNK_SLOTS)
    this.pages = arrays.uint8(CHUNK_SLOTS)
  }
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
  private readonly chunks: ChunkList<Chunk>
  private readonly guard: TableGuard

  constructor(space: TableSpace) {
    this.chunks = new ChunkList(Chunk, space.chunks('dirty'))
    this.guard = space.guard
  }

  has(slot: number): boolean {
    const chunk = this.chunks.at(slot)
    const at = slot & CHUNK_MASK
    return chunk !== undefined && chunk.writers[at] > 0 && (this.writesBack || chunk.pages[at] === 1)
  }

  addWriter(slot: number): void {
    this.guard.lock()
    this.chunks.of(slot).writers[slot & CHUNK_MASK]++
    this.guard.unlock()
  }

  removeWriter(slot: number): void {
    const chunk = this.chunks.at(slot)
    if (chunk === undefined) return
    this.guard.lock()
    chunk.writers[slot & CHUNK_MASK]--
    this.guard.unlock()
  }

  /** The guest reads into its page cache. */
  filled(slot: number): void {
    const chunk = this.chunks.at(slot) ?? this.make(slot)
    chunk.pages[slot & CHUNK_MASK] = 1
  }

  /** The guest writes its dirty pages back and drops all pages. */
  dropped(slot: number): void {
    const chunk = this.chunks.at(slot)
    if (chunk !== undefined) chunk.pages[slot & CHUNK_MASK] = 0
  }

  /** The slot stands for another file from now on. */
  forget(slot: number): void {
    const chunk = this.chunks.at(slot)
    if (chunk === undefined) return
    chunk.writers[slot & CHUNK_MASK] = 0
    chunk.pages[slot & CHUNK_MASK] = 0
  }

  clear(): void {
    this.chunks.clear()
  }

  lookAgain(): void {
    this.chunks.lookAgain()
  }

  private make(slot: number): Chunk {
    this.guard.lock()
    const chunk = this.chunks.of(slot)
    this.guard.unlock()
    return chunk
  }
}
