/** The length of the first spin after a pause that a spin would have bridged. */
const START_NS = 10_000
/** A shorter spin is not worth its own cost. */
const LEAST_NS = 5_000

/**
 * After this many long spins in a row that caught nothing, the guest probably shares our processor and waits for it.
 */
const FRUITLESS = 8
/** The number of spins between two looks at how often this thread lost its processor. */
const WINDOW = 1024
/** At this many losses others need the processor: a spin takes it from threads that may be working for us. */
const CROWDED = 16
/** The number of sleeps before spinning is tried again. It doubles each time, until a whole window went well. */
const FIRST_REST = 64
const FIRST_REST_OF_CROWDED = WINDOW
const LONGEST_REST = 16 * WINDOW

/**
 * Decides how long to look at the rings before going to sleep. Waking a sleeping thread costs tens of microseconds. A
 * spin of that length is free if the next request comes within it and nobody else wants the processor. The spin grows
 * while sleeps are short and shrinks to nothing while they are long, so that an idle guest costs nothing. It pauses
 * if a guest shares our core or needs all cores.
 */
export class AdaptiveSpin {
  private currentNs = 0
  private fruitless = 0
  private spins = 0
  private seenPreemptions = 0
  private rest = FIRST_REST
  private restLeft = 0

  /**
   * `maxNs` 0 turns spinning off. `preemptions` returns how often this thread has lost its processor to another so
   * far.
   */
  constructor(
    private readonly maxNs: number,
    private readonly preemptions: () => number,
  ) {
    this.currentNs = maxNs
    this.seenPreemptions = preemptions()
  }

  /** Nanoseconds to spin now; 0: go to sleep at once. */
  get spinNs(): number {
    return this.restLeft > 0 ? 0 : this.currentNs
  }

  /** Records that the spin saw a request. */
  caught(): void {
    this.fruitless = 0
    this.count()
  }

  /** Records that the spin missed. `idleNs` is the time from its beginning to the end of the sleep after it. */
  missed(idleNs: number): void {
    if (this.restLeft > 0) {
      if (--this.restLeft === 0) this.seenPreemptions = this.preemptions()
      return
    }
    if (this.currentNs > 0) this.count()
    if (idleNs > this.maxNs) {
      const shorter = this.currentNs / 2
      this.currentNs = shorter < LEAST_NS ? 0 : Math.floor(shorter)
    } else {
      this.currentNs = Math.min(this.maxNs, Math.max(START_NS, 2 * this.currentNs))
      if (++this.fruitless === FRUITLESS) this.takeRest()
    }
  }

  private count(): void {
    if (++this.spins < WINDOW) return
    this.spins = 0
    const before = this.seenPreemptions
    this.seenPreemptions = this.preemptions()
    if (this.seenPreemptions - before < CROWDED) {
      this.rest = FIRST_REST
    } else {
      this.rest = Math.max(FIRST_REST_OF_CROWDED, this.rest)
      this.takeRest()
    }
  }

  private takeRest(): void {
    this.fruitless = 0
    this.spins = 0
    this.restLeft = this.rest
    this.rest = Math.min(LONGEST_REST, 2 * this.rest)
  }
}
