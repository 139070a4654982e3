/** The rate of a bucket: so much in each second on average, and `burst` at once after a pause. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/**
 * A bucket with waiting requests collects for at least this long, whatever its burst, so that a thread that wakes up
 * late loses nothing.
 */
const LATE_MS = 100

/**
 * A token bucket. It is open while it holds anything, and may then be overdrawn once: a request is never split, and the
 * next one waits until the debt is paid. So the rate holds exactly on average, and is exceeded by one request at most.
 */
export class TokenBucket {
  private tokens = Number.POSITIVE_INFINITY
  private perMs = Number.POSITIVE_INFINITY
  private burst = Number.POSITIVE_INFINITY
  private atMs = 0

  /** Sets the rate; undefined: no limit. A debt stays, so that a change of the rate forgives nothing. */
  set(rate: Rate | undefined, nowMs: number): void {
    if (rate === undefined) {
      this.tokens = Number.POSITIVE_INFINITY
      this.perMs = Number.POSITIVE_INFINITY
      this.burst = Number.POSITIVE_INFINITY
      return
    }
    this.tokens = Math.min(this.tokens, rate.burst)
    this.perMs = rate.perSecond / 1000
    this.burst = rate.burst
    this.atMs = nowMs
  }

  get isLimited(): boolean {
    return this.perMs !== Number.POSITIVE_INFINITY
  }

  /** True if a request may pass. */
  get isOpen(): boolean {
    return this.tokens > 0
  }

  /** True if it holds more than `amount`. */
  holds(amount: number): boolean {
    return this.tokens > amount
  }

  /** A negative amount is given back. */
  take(amount: number): void {
    this.tokens -= amount
  }

  /** Adds what has come in since the last call; nothing for an earlier time. `isAwaited`: a request waits for it. */
  refill(nowMs: number, isAwaited: boolean): void {
    if (!this.isLimited || nowMs < this.atMs) return
    const room = isAwaited ? Math.max(this.burst, this.perMs * LATE_MS) : this.burst
    this.tokens = Math.min(Math.max(room, this.tokens), this.tokens + (nowMs - this.atMs) * this.perMs)
    this.atMs = nowMs
  }

  /** Milliseconds after the last `refill` until it is open. */
  get opensInMs(): number {
    return this.tokens > 0 ? 0 : (-this.tokens + Number.EPSILON) / this.perMs
  }
}
