/** The first spin after a pause that a spin would have caught. */
const START_NS = 10_000
/** Below this a spin is not worth its own cost. */
const LEAST_NS = 5_000

/**
 * How long to look at the rings before going to sleep. Waking a sleeping thread costs tens of microseconds; a spin of
 * that length is free whenever the next request comes within it. The spin grows while sleeps turn out short and shrinks
 * to nothing while they are long, so that an idle guest costs nothing and one that shares our core is not held up.
 */
export class AdaptiveSpin {
  private currentNs = 0

  /** `maxNs` 0 turns spinning off. */
  constructor(private readonly maxNs: number) {
    this.currentNs = maxNs
  }

  /** Nanoseconds to spin now; 0: go to sleep at once. */
  get spinNs(): number {
    return this.currentNs
  }

  /** The spin missed; from its beginning to the end of the sleep after it this much time went by. */
  missed(idleNs: number): void {
    if (idleNs <= this.maxNs) {
      this.currentNs = Math.min(this.maxNs, Math.max(START_NS, 2 * this.currentNs))
    } else {
      const shorter = this.currentNs / 2
      this.currentNs = shorter < LEAST_NS ? 0 : Math.floor(shorter)
    }
  }
}
