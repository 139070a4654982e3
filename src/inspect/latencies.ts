import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { opcodeName } from 'virtio-fs-ts/protocol'

/**
 * The histogram's range is 0.1 microseconds to one minute, in nanoseconds, with two significant digits: 23
 * KiB each.
 */
const LONGEST_NS = 60_000_000_000
const RANGE = { lowest: 100, highest: LONGEST_NS, figures: 2 }

/** Latencies of one opcode in microseconds, from a request's arrival on the ring to its completion. */
export interface LatencyReport {
  readonly opcode: string
  readonly count: number
  readonly meanUs: number
  readonly p50Us: number
  readonly p90Us: number
  readonly p99Us: number
  readonly maxUs: number
}

/** Keeps a histogram of latencies for each opcode that occurs. */
export class Latencies {
  private readonly histograms = new Map<number, RecordableHistogram>()

  record(opcode: number, elapsedMs: number): void {
    let histogram = this.histograms.get(opcode)
    if (histogram === undefined) {
      histogram = createHistogram(RANGE)
      this.histograms.set(opcode, histogram)
    }
    histogram.record(Math.min(LONGEST_NS, Math.max(1, Math.round(elapsedMs * 1e6))))
  }

  reset(): void {
    this.histograms.clear()
  }

  report(): LatencyReport[] {
    return [...this.histograms].map(([opcode, histogram]) => ({
      opcode: opcodeName(opcode),
      count: histogram.count,
      meanUs: microseconds(histogram.mean),
      p50Us: microseconds(histogram.percentile(50)),
      p90Us: microseconds(histogram.percentile(90)),
      p99Us: microseconds(histogram.percentile(99)),
      maxUs: microseconds(histogram.max),
    }))
  }
}

/** Rounds to one decimal, which is the histogram's precision. */
function microseconds(ns: number): number {
  return Math.round(ns / 100) / 10
}
