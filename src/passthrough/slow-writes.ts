/** Writes that took this long were held up by the host: it throttles dirty pages, or its journal is full. */
const SLOW_MS = 5
/** How long writes stay away from the loop after the last slow one. */
const HOLD_MS = 200

/**
 * Says when buffered writes are better carried out asynchronously. They normally go to the host's page cache and return
 * at once, and few file systems can say beforehand that one will not: so the first slow one shows, and those after it
 * leave the loop free until the host has caught up. Costs two readings of the clock for each batch with writes.
 */
export class SlowWrites {
  /** Whether a buffered write should leave the loop now. */
  away = false
  private untilMs = 0
  private firstMs = 0
  private counted = 0

  /** A write is about to be carried out in line. */
  count(): void {
    if (this.counted++ === 0) this.firstMs = performance.now()
  }

  /** A batch of requests has been served. */
  endBatch(): void {
    if (this.counted === 0 && !this.away) return
    const nowMs = performance.now()
    if (this.counted > 0) this.took(nowMs - this.firstMs, nowMs)
    this.counted = 0
    this.away = nowMs < this.untilMs
  }

  /** An asynchronous write, or a batch of others, was finished at `nowMs` after `elapsedMs`. */
  took(elapsedMs: number, nowMs: number): void {
    if (elapsedMs > SLOW_MS) this.untilMs = nowMs + HOLD_MS
  }
}
