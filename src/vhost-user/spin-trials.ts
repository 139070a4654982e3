/** The number of idle times, each of them a spin or a sleep, that are measured together. */
const WINDOW = 16
/** A comparison: windows with spins and without, in an order that favours neither while a load rises or falls. */
const COMPARISON: readonly boolean[] = [true, false, false, true]
/** The number of idle times until the next comparison. It doubles each time that the result is the same. */
const FIRST_STAY = 128
const LONGEST_STAY = 128 * FIRST_STAY

/** After this many spins in a row, each with the request right behind it, its sender probably waits for our processor. */
const MOST_FRUITLESS = 8
/** A window with this many spins that lost the processor: others need it, and may be working for us. */
const MOST_LOST = 3

/**
 * Says if spinning pays. Both ways take processor time: a spin as long as it lasts, and a sleep for going to bed and waking
 * up. Which takes less depends on guest, host and load, so both are tried now and then, and the cheaper one stays. Where a
 * spin takes the processor from others, it ends within a few requests.
 */
export class SpinTrials {
  /** True if the next idle time should begin with a spin. */
  spins = true
  /** The window of the comparison under way; -1: none. */
  private window = -1
  private left = FIRST_STAY
  private stay = FIRST_STAY
  private fruitless = 0
  private lost = 0
  private startNs = 0
  private startRequests = 0
  /** Processor time and requests of the comparison's windows, without spins and with them. */
  private readonly spentNs = [0, 0]
  private readonly requests = [0, 0]

  /** `cpuNs` returns the processor time of this thread so far, in nanoseconds. */
  constructor(private readonly cpuNs: () => number) {}

  /** An idle time is over. `requests`: the number of requests that were served so far. */
  idled(requests: number): void {
    if (--this.left % WINDOW === 0) this.lost = 0
    if (this.left > 0) return
    if (this.window >= 0) this.measure(requests)
    this.nextWindow(requests)
  }

  /** A spin has seen a request. */
  caught(): void {
    this.fruitless = 0
  }

  /** A spin has seen none. `soon`: a request came right after it. */
  missed(soon: boolean): void {
    this.fruitless = soon ? this.fruitless + 1 : 0
    if (this.fruitless === MOST_FRUITLESS) this.settle(false)
  }

  /** A spin was interrupted: the kernel gave the processor to others. */
  lostProcessor(): void {
    if (++this.lost === MOST_LOST) this.settle(false)
  }

  private measure(requests: number): void {
    const way = Number(this.spins)
    this.spentNs[way] += this.cpuNs() - this.startNs
    this.requests[way] += requests - this.startRequests
  }

  private nextWindow(requests: number): void {
    if (++this.window === COMPARISON.length) {
      const [asleep, spinning] = this.spentNs
      // As long for each request: neither count of requests is a divisor, since it may be 0.
      this.settle(spinning * this.requests[0] <= asleep * this.requests[1])
      return
    }
    if (this.window === 0) {
      this.spentNs.fill(0)
      this.requests.fill(0)
    }
    this.spins = COMPARISON[this.window]
    this.left = WINDOW
    this.startNs = this.cpuNs()
    this.startRequests = requests
  }

  private settle(spins: boolean): void {
    this.stay = spins === this.chosen ? Math.min(LONGEST_STAY, 2 * this.stay) : FIRST_STAY
    this.chosen = spins
    this.spins = spins
    this.window = -1
    this.left = this.stay
    this.fruitless = 0
    this.lost = 0
  }

  private chosen = true
}
