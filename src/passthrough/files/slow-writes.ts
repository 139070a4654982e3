/** Writes that took this long beyond what the copying takes were held up by the host: it throttles, or its journal is full. */
const SLOW_MS = 5
/** What copying to the page cache may take: several times what a busy machine needs. */
const COPY_MS_PER_BYTE = 1 / (1024 * 1024)
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
  private countedBytes = 0

  constructor(private readonly clockMs = () => performance.now()) {}

  /** A write is about to be carried out in line. */
  count(lenBytes: number): void {
    if (this.counted++ === 0) this.firstMs = this.clockMs()
    this.countedBytes += lenBytes
  }

  /** A batch of requests has been served. */
  endBatch(): void {
    if (this.counted === 0 && !this.away) return
    const nowMs = this.clockMs()
    if (this.counted > 0) this.took(nowMs - this.firstMs, this.countedBytes, nowMs)
    this.counted = 0
    this.countedBytes = 0
    this.away = nowMs < this.untilMs
  }

  /** `lenBytes` were written in the `elapsedMs` that ended at `nowMs`. */
  took(elapsedMs: number, lenBytes: number, nowMs: number): void {
    if (elapsedMs > SLOW_MS + lenBytes * COPY_MS_PER_BYTE) this.untilMs = nowMs + HOLD_MS
  }
}
