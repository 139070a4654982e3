import { StateError } from 'vhost-user-ts'
import { CHUNK_SLOTS, type ChunkArrays, type ChunkPlace } from '../inodes/slot-chunks.js'
import type { ChunkPart } from '../inodes/table-space.js'

/** The bytes of a slot in each table, so that a chunk begins at a multiple of 8. */
const SLOT_BYTES: Readonly<Record<ChunkPart, number>> = {
  inodes: 32,
  descriptors: 20,
  handles: 64,
  openDescriptors: 4,
  versions: 24,
  dirty: 8,
  files: 48,
  directories: 40,
}

/** The longest shared memory that can grow. */
const MAX_BYTES = 2 ** 32

/** The chunks of one table, in memory that grows. Whoever makes or clears chunks holds the lock of the tables. */
export class SharedChunks implements ChunkPlace {
  /** A byte for each chunk: 1 when it has been made. */
  static readonly MADE_WORDS = 2048
  readonly isShared = true
  private readonly chunkBytes: number
  private readonly limit: number

  constructor(
    part: ChunkPart,
    private readonly memory: SharedArrayBuffer,
    private readonly madeFlags: Uint8Array,
  ) {
    this.chunkBytes = SLOT_BYTES[part] * CHUNK_SLOTS
    this.limit = Math.min(madeFlags.length, Math.floor(memory.maxByteLength / this.chunkBytes))
  }

  get slotsLimit(): number {
    return this.limit * CHUNK_SLOTS
  }

  static maxBytes(part: ChunkPart, slots: number): number {
    return Math.min(MAX_BYTES, SLOT_BYTES[part] * slots)
  }

  look(n: number): ChunkArrays | undefined {
    return n < this.limit && Atomics.load(this.madeFlags, n) === 1 ? this.arrays(n) : undefined
  }

  /** Throws StateError beyond the last slot: only the state of another device names such slots, a guest is refused before. */
  make(n: number): ChunkArrays {
    if (n >= this.limit)
      throw new StateError(`slot ${n * CHUNK_SLOTS} is too high for tables that threads share`)
    const endBytes = (n + 1) * this.chunkBytes
    if (this.memory.byteLength < endBytes) this.memory.grow(endBytes)
    return this.arrays(n)
  }

  made(n: number): void {
    Atomics.store(this.madeFlags, n, 1)
  }

  clear(): void {
    for (let n = 0; n < this.limit; n++) {
      if (this.madeFlags[n] === 0) continue
      Atomics.store(this.madeFlags, n, 0)
      new Uint8Array(this.memory, n * this.chunkBytes, this.chunkBytes).fill(0)
    }
  }

  private arrays(n: number): ChunkArrays {
    return new ArraysFrom(this.memory, n * this.chunkBytes, (n + 1) * this.chunkBytes)
  }
}

/** Arrays one behind the other in a part of a buffer. Throws RangeError if they do not fit. */
class ArraysFrom implements ChunkArrays {
  constructor(
    private readonly memory: SharedArrayBuffer,
    private at: number,
    private readonly end: number,
  ) {}

  float64(length: number): Float64Array {
    return new Float64Array(this.memory, this.take(8 * length), length)
  }

  int32(length: number): Int32Array {
    return new Int32Array(this.memory, this.take(4 * length), length)
  }

  uint8(length: number): Uint8Array {
    return new Uint8Array(this.memory, this.take(length), length)
  }

  private take(bytes: number): number {
    const { at } = this
    this.at += bytes
    if (this.at > this.end) throw new RangeError('the arrays of a chunk are longer than the chunk')
    return at
  }
}
