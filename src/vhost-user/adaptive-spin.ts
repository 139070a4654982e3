/** The first spin after a pause that a spin would have caught. */
const START_NS = 10_000
/** Below this a spin is not worth its own cost. */
const LEAST_NS = 5_000

/** Spins in a row that were long enough and caught nothing: whoever sends shares our processor, and waits for it. */
const FRUITLESS = 8
/** Sleeps before that is tried again: twice as many each time, until a spin catches something. */
const FIRST_REST = 64
const LONGEST_REST = 4096

/**
 * How long to look at the rings before going to sleep. Waking a sleeping thread costs tens of microseconds; a spin of
 * that length is free whenever the next request comes within it. The spin grows while sleeps turn out short and shrinks
 * to nothing while they are long, so that an idle guest costs nothing and one that shares our core is not held up.
 */
export class AdaptiveSpin {
  private currentNs = 0
  private fruitless = 0
  private rest = FIRST_REST
  private restLeft = 0

  /** `maxNs` 0 turns spinning off. */
  constructor(private readonly maxNs: number) {
    this.currentNs = maxNs
  }

  /** Nanoseconds to spin now; 0: go to sleep at once. */
  get spinNs(): number {
    return this.restLeft > 0 ? 0 : this.currentNs
  }

  /** The spin saw something. */
  caught(): void {
    this.fruitless = 0
    this.rest = FIRST_REST
  }

  /** The spin missed; from its beginning to the end of the sleep after it this much time went by. */
  missed(idleNs: number): void {
    if (this.restLeft > 0) {
      this.restLeft--
    } else if (idleNs <= this.maxNs) {
      this.currentNs = Math.min(this.maxNs, Math.max(START_NS, 2 * this.currentNs))
      if (++this.fruitless === FRUITLESS) this.takeRest()
    } else {
      const shorter = this.currentNs / 2
      this.currentNs = shorter < LEAST_NS ? 0 : Math.floor(shorter)
    }
  }

  private takeRest(): void {
    this.fruitless = 0
    this.restLeft = this.rest
    this.rest = Math.min(LONGEST_REST, 2 * this.rest)
  }
}
