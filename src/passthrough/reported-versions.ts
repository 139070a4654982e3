import type { StatxWords } from 'virtio-fs-ts/protocol'
import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList } from './inodes/slot-chunks.js'
import { statxContents, statxVersion, statxYoungestMs } from './inodes/statx.js'
import type { TableSpace } from './inodes/table-space.js'
import type { TableGuard } from './shared/table-guard.js'

/** Two changes of a file within one tick of the host's clock show the same time. */
const TICK_MS = 20
const UNKNOWN = 0

class Chunk {
  /** The version of the guest's pages, and the part of it that guests check. UNKNOWN if it is not known. */
  readonly version: Float64Array
  readonly contents: Float64Array
  /** Guest handles through which the file can be written. */
  readonly writers: Int32Array

  constructor(arrays: ChunkArrays) {
    this.version = arrays.float64(CHUNK_SLOTS)
    this.contents = arrays.float64(CHUNK_SLOTS)
    this.writers = arrays.int32(CHUNK_SLOTS)
  }
}

/**
 * Remembers the version (mtime, ctime and size) of each file to which the guest's cached pages belong. An open that drops
 * the pages starts with the file's present version. If the guest later gets another mtime or size, it drops the pages
 * itself, and the new version counts. The guest ignores ctime: after a change of ctime alone the version is unknown. While
 * a file still has the version of its pages, an open can keep them.
 *
 * While the guest writes, it may ignore the attributes it gets, so the version is unknown.
 */
export class ReportedVersions {
  private readonly chunks: ChunkList<Chunk>
  private readonly guard: TableGuard

  constructor(space: TableSpace) {
    this.chunks = new ChunkList(Chunk, space.chunks('versions'))
    this.guard = space.guard
  }

  /** The guest gets `st`. */
  told(slot: number, st: StatxWords): void {
    const chunk = this.chunks.at(slot)
    const at = slot & CHUNK_MASK
    if (chunk === undefined || chunk.version[at] === UNKNOWN) return
    const version = statxVersion(st)
    if (chunk.version[at] === version) return
    this.guard.lock()
    if (chunk.contents[at] === statxContents(st)) chunk.version[at] = UNKNOWN
    else this.know(chunk, at, st)
    this.guard.unlock()
  }

  /** The guest opens a file whose attributes are `st`. Returns true if the guest's pages of it are valid. */
  opened(slot: number, st: StatxWords, writable: boolean): boolean {
    this.guard.lock()
    const chunk = this.chunks.of(slot)
    const at = slot & CHUNK_MASK
    const isGood = chunk.version[at] !== UNKNOWN && chunk.version[at] === statxVersion(st)
    if (writable) {
      chunk.writers[at]++
      chunk.version[at] = UNKNOWN
    } else if (!isGood) {
      this.know(chunk, at, st)
    }
    this.guard.unlock()
    return isGood
  }

  /** The guest has had the file open elsewhere: its pages belong to a version that is not known here. */
  movedOpen(slot: number, writable: boolean): void {
    this.guard.lock()
    const chunk = this.chunks.of(slot)
    const at = slot & CHUNK_MASK
    if (writable) chunk.writers[at]++
    chunk.version[at] = UNKNOWN
    this.guard.unlock()
  }

  /** The guest releases a file opened for writing. */
  removeWriter(slot: number): void {
    const chunk = this.chunks.at(slot)
    if (chunk === undefined) return
    this.guard.lock()
    chunk.writers[slot & CHUNK_MASK]--
    this.guard.unlock()
  }

  private know(chunk: Chunk, at: number, st: StatxWords): void {
    const isSafe = chunk.writers[at] === 0 && Date.now() - statxYoungestMs(st) > TICK_MS
    chunk.version[at] = isSafe ? statxVersion(st) : UNKNOWN
    chunk.contents[at] = statxContents(st)
  }

  /** The slot stands for another file from now on. */
  forget(slot: number): void {
    const chunk = this.chunks.at(slot)
    if (chunk === undefined) return
    chunk.version[slot & CHUNK_MASK] = UNKNOWN
    chunk.writers[slot & CHUNK_MASK] = 0
  }

  clear(): void {
    this.chunks.clear()
  }

  lookAgain(): void {
    this.chunks.lookAgain()
  }
}
