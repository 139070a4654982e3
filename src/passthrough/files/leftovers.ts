import type { MemoryAccount } from '../memory-account.js'

/** What an array takes of memory beside its bytes, about. */
const OVERHEAD_BYTES = 256
/** No directory begins there: the next read has to go to its place first. */
const NOWHERE = -1

const NOTHING = new Uint8Array(0)

/** What is kept of a directory that the guest has open, and where it begins and stands. */
interface ReadDirectory {
  readonly atHigh: number
  atLow: number
  left: Uint8Array
  leftLow: number
  leftHigh: number
}

/**
 * Records that were read of directories and that nobody has taken yet. They save a directory from being read twice; those
 * that were kept first are given up when all of them together take too much memory.
 */
export class Leftovers {
  private readonly holders = new Set<ReadDirectory>()

  constructor(private readonly memory: MemoryAccount) {}

  /** Keeps records that begin where `directory` stands. */
  keep(directory: ReadDirectory, records: Uint8Array): void {
    this.drop(directory)
    const bytes = records.length + OVERHEAD_BYTES
    while (!this.memory.hasRoom('directories', bytes)) {
      const [oldest] = this.holders
      // Alone it always fits.
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

  /** Gives up what is kept of a directory. */
  drop(directory: ReadDirectory): void {
    if (!this.holders.delete(directory)) return
    this.memory.add('directories', -(directory.left.length + OVERHEAD_BYTES))
    directory.left = NOTHING
  }

  clear(): void {
    for (const directory of [...this.holders]) this.drop(directory)
  }
}
