import { availableParallelism } from 'node:os'

/** Smaller reads take about as long as waking the thread that would carry them out. */
export const LEAST_SHARED_BYTES = 64 * 1024
/** The bytes of the requests behind a read, if they are as large, that are worth waking a thread. */
const LEAST_BYTES_BEHIND = 1024 * 1024
/** The number of reads that are handed over between two looks at how many of them other threads have carried out. */
const WINDOW = 128
/** With fewer of a window than this, the other processors are busy. */
const WORTHWHILE = WINDOW / 8
/** The number of large reads before sharing is tried again. It doubles each time, until a whole window went well. */
const FIRST_REST = 8 * WINDOW
const LONGEST_REST = 64 * FIRST_REST

/** The most threads that copy beside the thread of a share, unless an option says so. */
const MOST_COPIERS = 4

/** Returns the number of threads that may copy beside this one; `asked` is the value of `--thread-pool-size`. */
export function copierCount(asked: number | undefined, processors = availableParallelism()): number {
  return Math.min(asked ?? MOST_COPIERS, MOST_COPIERS_EVER, Math.max(0, processors - 1))
}

/** The addon's limit. */
const MOST_COPIERS_EVER = 64

/**
 * Says which reads of cached data other threads should carry out. Copying is most of the work for a large read, and several
 * processors can copy at a time. This thread takes part: it carries out what the others have not begun. So it knows how
 * many they have carried out, and keeps everything to itself while they find no free processor.
 */
export class SharedCopies {
  private offered = 0
  private ownWork = 0
  private rest = FIRST_REST
  private restLeft = 0
  private alone: boolean

  /** `copiers`: the number of threads that may copy beside this one. `processors` returns how many this thread may use. */
  constructor(
    private readonly copiers: number,
    private readonly processors: () => number = availableParallelism,
  ) {
    this.alone = copiers === 0
  }

  /** Returns true if a read of `lenBytes` should be handed over, because this thread has `followers` to serve meanwhile. */
  wants(lenBytes: number, followers: number): boolean {
    if (this.copiers === 0 || lenBytes < LEAST_SHARED_BYTES || lenBytes * followers < LEAST_BYTES_BEHIND)
      return false
    if (this.restLeft > 0 && --this.restLeft > 0) return false
    if (this.restLeft === 0 && this.alone) this.look()
    return !this.alone
  }

  /** A read was handed over. */
  handedOver(): void {
    if (++this.offered < WINDOW) return
    if (this.offered - this.ownWork < WORTHWHILE) this.takeRest()
    else this.rest = FIRST_REST
    this.offered = 0
    this.ownWork = 0
    this.look()
  }

  /** This thread has carried out a read that it had handed over. */
  tookBack(): void {
    this.ownWork++
  }

  private look(): void {
    this.alone = this.processors() < 2
    if (this.alone) this.takeRest()
  }

  private takeRest(): void {
    this.restLeft = this.rest
    this.rest = Math.min(LONGEST_REST, 2 * this.rest)
  }
}
