/** Data by slot is stored in chunks of this many slots, which are never copied or moved. */
export const CHUNK_BITS = 14
export const CHUNK_SLOTS = 1 << CHUNK_BITS
export const CHUNK_MASK = CHUNK_SLOTS - 1

/** Gives a chunk its arrays, all zero. A chunk asks for the same arrays in the same order each time. */
export interface ChunkArrays {
  float64(length: number): Float64Array
  int32(length: number): Int32Array
  uint8(length: number): Uint8Array
}

/** The place of a table's chunks in memory. */
export interface ChunkPlace {
  /** False if no other thread makes chunks. */
  readonly isShared: boolean
  /** Slots from here on have no room. */
  readonly slotsLimit: number
  /** The arrays of a chunk that another thread has made, or undefined. */
  look(n: number): ChunkArrays | undefined
  /** The arrays of a new chunk. Other threads do not see them before `made`. */
  make(n: number): ChunkArrays
  made(n: number): void
  /** Makes all chunks unmade. */
  clear(): void
}

/** Arrays that one thread has for itself. */
const ownArrays: ChunkArrays = {
  float64: (length) => new Float64Array(length),
  int32: (length) => new Int32Array(length),
  uint8: (length) => new Uint8Array(length),
}

/** Memory of one thread, which the garbage collector frees. */
export const ownChunks: ChunkPlace = {
  isShared: false,
  slotsLimit: Number.POSITIVE_INFINITY,
  look: () => undefined,
  make: () => ownArrays,
  made: () => {},
  clear: () => {},
}

/**
 * A table's data by slot. Slots without data need no chunk: a single high slot takes the memory of one. Whoever makes a chunk
 * holds the table's lock; to look at one takes none.
 */
export class ChunkList<C> {
  private readonly list: (C | undefined)[] = []
  private readonly isShared: boolean

  constructor(
    private readonly Chunk: new (arrays: ChunkArrays) => C,
    private readonly place: ChunkPlace,
    /** Fills a new chunk whose data do not begin as zeros. */
    private readonly fill: (chunk: C) => void = () => {},
  ) {
    this.isShared = place.isShared
  }

  /** Slots from here on have no room. */
  get slotsLimit(): number {
    return this.place.slotsLimit
  }

  /** The chunk of a slot, if there is one. */
  at(slot: number): C | undefined {
    const chunk = this.list[slot >>> CHUNK_BITS]
    return chunk === undefined && this.isShared ? this.look(slot >>> CHUNK_BITS) : chunk
  }

  /** The chunk of a slot that has been given data. */
  known(slot: number): C {
    return this.at(slot)!
  }

  /** The chunk of a slot, made on first use. */
  of(slot: number): C {
    return this.at(slot) ?? this.make(slot >>> CHUNK_BITS)
  }

  /** The slots from `first` to before `end` that have chunks. */
  *slots(first: number, end: number): Generator<number> {
    for (let slot = first; slot < end; slot++) {
      if (this.at(slot) !== undefined) yield slot
      else slot |= CHUNK_MASK
    }
  }

  clear(): void {
    this.list.length = 0
    this.place.clear()
  }

  /** Forgets what this thread has seen: another one has cleared the table. */
  lookAgain(): void {
    this.list.length = 0
  }

  private look(n: number): C | undefined {
    const arrays = this.place.look(n)
    return arrays === undefined ? undefined : this.keep(n, arrays)
  }

  private make(n: number): C {
    const chunk = this.keep(n, this.place.make(n))
    this.fill(chunk)
    this.place.made(n)
    return chunk
  }

  private keep(n: number, arrays: ChunkArrays): C {
    const chunk = new this.Chunk(arrays)
    while (this.list.length <= n) this.list.push(undefined)
    this.list[n] = chunk
    return chunk
  }
}
