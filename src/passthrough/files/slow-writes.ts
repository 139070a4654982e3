/** A write that takes this much longer than its copying was held up by the host: throttling, or a full journal. */
const SLOW_MS = 5
/** Time allowed for copying to the page cache: several times the need of a busy machine. */
const COPY_MS_PER_BYTE = 1 / (1024 * 1024)
/** How long writes stay away from the loop after the last slow one. */
const HOLD_MS = 200

/**
 * Says when buffered writes should run asynchronously. They normally go to the host's page cache and return at once. Few
 * file systems can announce a slow one, so the first slow write blocks the loop. The writes after it run asynchronously
 * until the host has caught up. Costs two clock readings for each batch with writes.
 */
export class SlowWrites {
  /** True if buffered writes should leave the loop now. */
  away = false
  private untilMs = 0
  private firstMs = 0
  private counted = 0
  private countedBytes = 0

  constructor(private readonly clockMs = () => performance.now()) {}

  /** Called before a write runs in line. */
  count(lenBytes: number): void {
    if (this.counted++ === 0) this.firstMs = this.clockMs()
    this.countedBytes += lenBytes
  }

  /** Called after a batch of requests. */
  endBatch(): void {
    if (this.counted === 0 && !this.away) return
    const nowMs = this.clockMs()
    if (this.counted > 0) this.took(nowMs - this.firstMs, this.countedBytes, nowMs)
    this.counted = 0
    this.countedBytes = 0
    this.away = nowMs < this.untilMs
  }

  /** Records a write of `lenBytes` that took the `elapsedMs` before `nowMs`. */
  took(elapsedMs: number, lenBytes: number, nowMs: number): void {
    if (elapsedMs > SLOW_MS + lenBytes * COPY_MS_PER_BYTE) this.untilMs = nowMs + HOLD_MS
  }
}
