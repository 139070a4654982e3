import type { DirectoryEntry } from './node.js'

/** The most entries kept for all open directories together: tens of megabytes. */
const MAX_ENTRIES = 1 << 18

/** A directory that the guest has open, and the listing that the guest is reading. */
interface ReadDirectory {
  listing: readonly DirectoryEntry[] | undefined
}

/**
 * The listings of open directories. If they have too many entries together, the oldest is given up, and its directory is
 * read anew when the guest goes on.
 */
export class Listings {
  private readonly holders = new Set<ReadDirectory>()
  private entries = 0

  constructor(private readonly maxEntries = MAX_ENTRIES) {}

  /** Keeps a listing. The newest is kept whatever its length. */
  keep(directory: ReadDirectory, listing: readonly DirectoryEntry[]): void {
    this.drop(directory)
    for (const oldest of this.holders) {
      if (this.entries + listing.length <= this.maxEntries) break
      this.drop(oldest)
    }
    directory.listing = listing
    this.holders.add(directory)
    this.entries += listing.length
  }

  drop(directory: ReadDirectory): void {
    if (!this.holders.delete(directory)) return
    this.entries -= directory.listing?.length ?? 0
    directory.listing = undefined
  }

  clear(): void {
    for (const directory of [...this.holders]) this.drop(directory)
  }
}
