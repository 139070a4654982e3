import type { StatxWords } from 'virtio-fs-ts/protocol'
import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS, chunkOf } from './inodes/slot-chunks.js'
import { statxContents, statxVersion, statxYoungestMs } from './inodes/statx.js'

/** A file that changed twice within a tick of the host's clock shows one time for both. */
const TICK_MS = 20
const UNKNOWN = 0

class Chunk {
  /** The version that the guest's pages are of, and its part that guests look at; UNKNOWN when there is no telling. */
  readonly version = new Float64Array(CHUNK_SLOTS)
  readonly contents = new Float64Array(CHUNK_SLOTS)
  /** Handles of the guest through which the file can be written. */
  readonly writers = new Int32Array(CHUNK_SLOTS)
}

/**
 * Which version of each file the pages in the guest's cache are of, by mtime, ctime and size. An open that throws pages
 * away begins with the version of that moment. When the guest is told of another mtime or size later it throws them away by
 * itself, and the new version counts; it takes no notice of ctime, so a file of which that alone changed is not known any
 * more. As long as a file has the version that its pages are of, an open need not throw them away.
 *
 * While the guest writes it may ignore what it is told, because it knows better: then nothing is known.
 */
export class ReportedVersions {
  private readonly chunks: (Chunk | undefined)[] = []

  /** The guest has been told of `st`. */
  told(slot: number, st: StatxWords): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    const at = slot & CHUNK_MASK
    if (chunk === undefined || chunk.version[at] === UNKNOWN) return
    const version = statxVersion(st)
    if (chunk.version[at] === version) return
    if (chunk.contents[at] === statxContents(st)) chunk.version[at] = UNKNOWN
    else this.know(chunk, at, st)
  }

  /** The guest opens a file that is now as `st` says. Returns whether the pages that it has of it are good. */
  opened(slot: number, st: StatxWords, writable: boolean): boolean {
    const chunk = chunkOf(this.chunks, slot, Chunk)
    const at = slot & CHUNK_MASK
    const isGood = chunk.version[at] !== UNKNOWN && chunk.version[at] === statxVersion(st)
    if (writable) {
      chunk.writers[at]++
      chunk.version[at] = UNKNOWN
    } else if (!isGood) {
      this.know(chunk, at, st)
    }
    return isGood
  }

  /** A file opened for writing is released. */
  removeWriter(slot: number): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk !== undefined) chunk.writers[slot & CHUNK_MASK]--
  }

  private know(chunk: Chunk, at: number, st: StatxWords): void {
    const isSafe = chunk.writers[at] === 0 && Date.now() - statxYoungestMs(st) > TICK_MS
    chunk.version[at] = isSafe ? statxVersion(st) : UNKNOWN
    chunk.contents[at] = statxContents(st)
  }

  /** The slot stands for another file from now on. */
  forget(slot: number): void {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk === undefined) return
    chunk.version[slot & CHUNK_MASK] = UNKNOWN
    chunk.writers[slot & CHUNK_MASK] = 0
  }

  clear(): void {
    this.chunks.length = 0
  }
}
