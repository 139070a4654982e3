import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'

/** A write that takes this much longer than its copying may have been held up by the host: throttling, or a full journal. */
const SLOW_MS = 5
/** The same for a write away from the loop, whose thread first has to get a processor. */
const SLOW_AWAY_MS = 20
/** Time allowed for copying to the page cache: several times the need of a busy machine. */
const COPY_MS_PER_BYTE = 1 / (1024 * 1024)
/** How long writes stay away from the loop after the last slow one. */
const HOLD_MS = 50
/** How long after a slow write the next one is watched. */
const WATCH_MS = 1000

/**
 * Says when buffered writes should run asynchronously. They normally go to the host's page cache and return at once. Few
 * file systems can announce a slow one, so slow writes block the loop until it is known what made them slow: the host, for
 * which this thread waited, or other threads, which had the processor meanwhile. Only the host is a reason to leave. The
 * first slow write therefore makes the next ones watched. Costs two clock readings for each batch with writes.
 */
export class SlowWrites {
  /** True if buffered writes should leave the loop now. */
  away = false
  private untilMs = 0
  private watchUntilMs = 0
  private firstMs = 0
  /** How often this thread had waited before the batch; -1: it is not watched. */
  private firstWaits = -1
  private counted = 0
  private countedBytes = 0

  /** `waits` returns how often this thread has waited for something so far. */
  constructor(
    private readonly clockMs = () => performance.now(),
    private readonly waits = native.threadWaits,
  ) {}

  /** Called before a write runs in line. */
  count(lenBytes: number): void {
    if (this.counted++ === 0) {
      this.firstMs = this.clockMs()
      this.firstWaits = this.firstMs < this.watchUntilMs ? this.waits() : -1
    }
    this.countedBytes += lenBytes
  }

  /** Called after a batch of requests. */
  endBatch(): void {
    if (this.counted === 0 && !this.away) return
    const nowMs = this.clockMs()
    if (this.counted > 0 && isSlow(nowMs - this.firstMs, this.countedBytes, SLOW_MS)) {
      if (this.firstWaits >= 0 && this.waits() > this.firstWaits) this.leave(nowMs)
      else this.watchUntilMs = nowMs + WATCH_MS
    }
    this.counted = 0
    this.countedBytes = 0
    this.away = nowMs < this.untilMs
  }

  /** Records a write away from the loop that took the `elapsedMs` before `nowMs`, while `lenBytes` were written in all. */
  took(elapsedMs: number, lenBytes: number, nowMs: number): void {
    if (isSlow(elapsedMs, lenBytes, SLOW_AWAY_MS)) this.leave(nowMs)
  }

  private leave(nowMs: number): void {
    this.untilMs = nowMs + HOLD_MS
    this.watchUntilMs = this.untilMs + WATCH_MS
  }
}

function isSlow(elapsedMs: number, lenBytes: number, slowMs: number): boolean {
  return elapsedMs > slowMs + lenBytes * COPY_MS_PER_BYTE
}
