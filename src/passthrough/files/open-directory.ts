import { EINVAL } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { Dirents } from '../inodes/dirents.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import { HeldFd } from './held-fd.js'
import { type Leftovers, NOWHERE } from './leftovers.js'

/** Room for a few of the longest names. */
const LEAST_READ_BYTES = 1024
const MOST_READ_BYTES = 64 * 1024
/** The upper half of 2^63. */
const HIGH = 0x8000_0000

const NOTHING = new Uint8Array(0)

/** Walks the records of one read. One reader serves all directories of a thread: it keeps nothing after a request. */
export class DirentReader extends Dirents {
  constructor(private readonly leftovers: Leftovers) {
    super()
  }

  /**
   * Goes to the entry after the position [low, high] and reads records from there. Uses the records left from the last read
   * if they begin there, and the directory itself otherwise. Returns 0 or a negative errno.
   */
  open(directory: OpenDirectory, low: number, high: number): number {
    this.at = 0
    this.end = 0
    if (directory.left.length > 0 && directory.leftLow === low && directory.leftHigh === high) {
      this.bytes.set(directory.left)
      this.end = directory.left.length
      return 0
    }
    if (directory.left.length > 0) {
      // The descriptor is ahead of what was handed out.
      this.leftovers.drop(directory)
      directory.atLow = NOWHERE
    }
    if (directory.atLow === low && directory.atHigh === high) return 0
    const sought = native.seekDirectory(directory.fd, low, high)
    const result = sought < 0 && high >= HIGH ? this.walk(directory.fd, low, high) : sought
    directory.atLow = result < 0 ? NOWHERE : low
    directory.atHigh = high
    return result
  }

  /**
   * Reads from the beginning up to a position beyond 2^63. NFS servers give such positions, and lseek(2) takes them for
   * negative ones. Returns 0 or a negative errno: EINVAL if no entry has this position.
   */
  private walk(fd: number, low: number, high: number): number {
    const result = native.seekDirectory(fd, 0, 0)
    if (result < 0) return result
    for (;;) {
      const got = this.read(fd, MOST_READ_BYTES)
      if (got < 0) return got
      let hasHigh = false
      for (; this.at < this.end; this.step()) {
        const { offLow, offHigh } = this
        hasHigh ||= offHigh >= HIGH
        if (offLow !== low || offHigh !== high) continue
        this.step()
        return 0
      }
      // A directory has such positions everywhere, or nowhere.
      if (!hasHigh) return -EINVAL
    }
  }

  /**
   * Returns 1 if there is a record at `at`, 0 at the end of the directory, or a negative errno. Reads about `wantBytes` from
   * the directory if no record is left. The caller must keep records that it does not use.
   */
  more(directory: OpenDirectory, wantBytes: number): number {
    if (this.at < this.end) return 1
    const got = this.read(directory.fd, Math.max(LEAST_READ_BYTES, wantBytes))
    return got > 0 ? 1 : got
  }

  /** Steps over the current record and moves the directory's position after it. */
  next(directory: OpenDirectory): void {
    directory.atLow = this.offLow
    directory.atHigh = this.offHigh
    this.step()
  }

  /** Keeps the records that were read and not stepped over, for the next request. */
  close(directory: OpenDirectory): void {
    if (this.at < this.end) this.leftovers.keep(directory, this.bytes.subarray(this.at, this.end))
    else this.leftovers.drop(directory)
  }
}

/** A directory that the guest has open. */
export class OpenDirectory extends HeldFd {
  constructor(
    fd: number,
    budget: FdBudget,
    /** The inode of the directory. */
    readonly nodeid: number,
  ) {
    super(fd, budget)
  }

  /** The position up to which entries have been sent. */
  atLow = 0
  atHigh = 0
  /** Records that were read and not yet sent. They begin at the position [leftLow, leftHigh]. */
  left = NOTHING
  leftLow = 0
  leftHigh = 0
}
