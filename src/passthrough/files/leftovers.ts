import type { MemoryAccount } from '../memory-account.js'

/** Approximate memory of an array in addition to its bytes. */
const OVERHEAD_BYTES = 256
/** No directory begins at this position, so the next read seeks first. */
export const NOWHERE = -1

const NOTHING = new Uint8Array(0)

/** Kept records of an open directory, with the positions where they begin and where the directory stands. */
interface ReadDirectory {
  readonly atHigh: number
  atLow: number
  left: Uint8Array
  leftLow: number
  leftHigh: number
}

/**
 * Directory records that were read and not yet sent. They save a second read of the directory. When all of them together
 * take too much memory, the oldest are dropped.
 */
export class Leftovers {
  private readonly holders = new Set<ReadDirectory>()

  constructor(private readonly memory: MemoryAccount) {}

  /** Keeps records that begin at the directory's position. */
  keep(directory: ReadDirectory, records: Uint8Array): void {
    this.drop(directory)
    const bytes = records.length + OVERHEAD_BYTES
    while (!this.memory.hasRoom('directories', bytes)) {
      const [oldest] = this.holders
      // A single directory always fits.
      if (oldest === undefined) break
      this.drop(oldest)
      oldest.atLow = NOWHERE
    }
    directory.left = records.slice()
    directory.leftLow = directory.atLow
    directory.leftHigh = directory.atHigh
    this.holders.add(directory)
    this.memory.add('directories', bytes)
  }

  /** Drops the kept records of a directory. */
  drop(directory: ReadDirectory): void {
    if (!this.holders.delete(directory)) return
    this.memory.add('directories', -(directory.left.length + OVERHEAD_BYTES))
    directory.left = NOTHING
  }

  clear(): void {
    for (const directory of [...this.holders]) this.drop(directory)
  }
}
