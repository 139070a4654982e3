import { SpinTrials } from './spin-trials.js'

/** The length of the first spin after a pause that a spin would have bridged. */
const START_NS = 10_000
/** A shorter spin is not worth its own cost. */
const LEAST_NS = 5_000

/**
 * Decides how long to look at the rings before going to sleep. Waking a sleeping thread takes tens of microseconds. A spin
 * of that length saves them if the next request comes within it. The spin grows while sleeps are short and shrinks to
 * nothing while they are long, so that an idle guest costs nothing. It pauses where it takes more processor time than it
 * saves.
 */
export class AdaptiveSpin {
  private lengthNs: number
  private readonly trials: SpinTrials

  /** `maxNs` 0 turns spinning off. `cpuNs` returns the processor time of this thread so far. */
  constructor(
    private readonly maxNs: number,
    cpuNs: () => number,
  ) {
    this.lengthNs = maxNs
    this.trials = new SpinTrials(cpuNs)
  }

  /** Nanoseconds to spin now; 0: go to sleep at once. */
  get spinNs(): number {
    return this.trials.spins ? this.lengthNs : 0
  }

  /** Records that the spin saw a request. `requests`: the number of requests served before. */
  caught(requests: number): void {
    this.trials.caught()
    this.trials.idled(requests)
  }

  /** Records that the spin was interrupted for `lostNs`, because others had the processor. */
  lostProcessor(lostNs: number): void {
    this.trials.lostProcessor(lostNs)
  }

  /** Records a sleep. `idleNs` is the time from the beginning of the spin before it, if there was one, to its end. */
  missed(idleNs: number, requests: number): void {
    const { spinNs, maxNs } = this
    if (spinNs > 0) this.trials.missed(idleNs <= spinNs + maxNs)
    if (this.trials.spins) this.adapt(idleNs)
    this.trials.idled(requests)
  }

  private adapt(idleNs: number): void {
    if (idleNs > this.maxNs) {
      const shorter = this.lengthNs / 2
      this.lengthNs = shorter < LEAST_NS ? 0 : Math.floor(shorter)
    } else {
      this.lengthNs = Math.min(this.maxNs, Math.max(START_NS, 2 * this.lengthNs))
    }
  }
}
