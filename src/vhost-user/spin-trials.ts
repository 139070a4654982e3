/** The number of idle times, each of them a spin or a sleep, that are measured together. */
const WINDOW = 16
/** The windows of a comparison, with spins and without, in an order that favours neither while a load rises or falls. */
const WINDOWS: readonly boolean[] = [true, false, false, true]
/** The number of idle times until the next comparison. It doubles each time that the result is the same. */
const FIRST_STAY = 128
const LONGEST_STAY = 128 * FIRST_STAY

/** After this many spins in a row, each with the request right behind it, its sender probably waits for our processor. */
const MOST_FRUITLESS = 8
/** The time to wake up, which a spin that catches something saves. */
const SAVED_NS = 30_000
/** The factor by which the rest grows after spins that lost the processor and had not saved as much time before. */
const LONGER = 4

/** Processor time in nanoseconds, and requests, without spins (0) and with them (1). */
class Comparison {
  readonly spentNs = [0, 0]
  readonly requests = [0, 0]

  add(way: number, spentNs: number, requests: number): void {
    this.spentNs[way] += spentNs
    this.requests[way] += requests
  }

  /** True if a request takes no longer with spins. Neither count is a divisor, since it may be 0. */
  get spinIsCheaper(): boolean {
    return this.spentNs[1] * this.requests[0] <= this.spentNs[0] * this.requests[1]
  }
}

/**
 * Says if spinning pays. Both ways take processor time: a spin as long as it lasts, and a sleep for going to bed and waking
 * up. Which takes less depends on guest, host and load, so both are tried now and then, and the cheaper one stays. Where
 * others want the processor, a thread that spins loses it for much longer than a wake-up takes: that ends the spins, too.
 */
export class SpinTrials {
  /** True if the next idle time should begin with a spin. */
  spins = true
  /** The window of the comparison under way; -1: none. */
  private window = -1
  private left = FIRST_STAY
  private stay = FIRST_STAY
  private fruitless = 0
  /** Spins that caught something since one lost the processor. */
  private caughtSinceLoss = 0
  private restAfterLoss = FIRST_STAY
  private chosen = true
  private startNs = 0
  private startRequests = 0
  /** The comparison under way, and all before: each counts half as much as the next. */
  private now = new Comparison()
  private before = new Comparison()

  /** `cpuNs` returns the processor time of this thread so far, in nanoseconds. */
  constructor(private readonly cpuNs: () => number) {}

  /** An idle time is over. `requests`: the number of requests that were served so far. */
  idled(requests: number): void {
    if (--this.left > 0) return
    if (this.window >= 0) this.measure(requests)
    this.nextWindow(requests)
  }

  /** A spin has seen a request. */
  caught(): void {
    this.fruitless = 0
    this.caughtSinceLoss++
  }

  /** A spin has seen none. `soon`: a request came right after it. */
  missed(soon: boolean): void {
    this.fruitless = soon ? this.fruitless + 1 : 0
    if (this.fruitless === MOST_FRUITLESS) this.settle(false)
  }

  /** A spin was interrupted for `lostNs`: the kernel gave the processor to others. */
  lostProcessor(lostNs: number): void {
    const paid = this.caughtSinceLoss * SAVED_NS >= lostNs
    this.caughtSinceLoss = 0
    if (paid) {
      this.restAfterLoss = FIRST_STAY
      return
    }
    this.settle(false)
    this.left = this.restAfterLoss
    this.restAfterLoss = Math.min(LONGEST_STAY, LONGER * this.restAfterLoss)
  }

  private measure(requests: number): void {
    this.now.add(Number(this.spins), this.cpuNs() - this.startNs, requests - this.startRequests)
  }

  private nextWindow(requests: number): void {
    if (++this.window === WINDOWS.length) {
      const { now, before } = this
      const { spinIsCheaper } = now
      for (const way of [0, 1]) now.add(way, before.spentNs[way] / 2, before.requests[way] / 2)
      // Each comparison is partly a matter of chance, so the earlier ones count. A contradiction is soon looked into.
      this.before = now
      this.settle(now.spinIsCheaper, now.spinIsCheaper === spinIsCheaper)
      return
    }
    this.spins = WINDOWS[this.window]
    this.left = WINDOW
    this.startNs = this.cpuNs()
    this.startRequests = requests
  }

  private settle(spins: boolean, agrees = true): void {
    this.stay = agrees && spins === this.chosen ? Math.min(LONGEST_STAY, 2 * this.stay) : FIRST_STAY
    this.chosen = spins
    this.spins = spins
    this.now = new Comparison()
    this.window = -1
    this.left = this.stay
    this.fruitless = 0
  }
}
