// The whole package brings web assembly and compression along: 35 ms of the start of each share.
import histograms from 'hdr-histogram-js/dist/Int32Histogram.js'
import { opcodeName } from '../virtio-fs/abi.js'

/** From a tenth of a microsecond... counted in nanoseconds, to a minute. */
const SHORTEST_NS = 100
const LONGEST_NS = 60_000_000_000
const DIGITS = 2

const { default: Histogram } = histograms
type Histogram = InstanceType<typeof Histogram>

/** Latency of one operation, in microseconds, from seen on the ring to given back. */
export interface LatencyReport {
  readonly opcode: string
  readonly count: number
  readonly meanUs: number
  readonly p50Us: number
  readonly p90Us: number
  readonly p99Us: number
  readonly maxUs: number
}

/** A histogram of latencies for each opcode that occurs. */
export class Latencies {
  private readonly histograms = new Map<number, Histogram>()

  record(opcode: number, elapsedMs: number): void {
    let histogram = this.histograms.get(opcode)
    if (histogram === undefined) {
      histogram = new Histogram(SHORTEST_NS, LONGEST_NS, DIGITS)
      this.histograms.set(opcode, histogram)
    }
    histogram.recordValue(Math.min(LONGEST_NS, Math.max(1, Math.round(elapsedMs * 1e6))))
  }

  reset(): void {
    this.histograms.clear()
  }

  report(): LatencyReport[] {
    return [...this.histograms].map(([opcode, histogram]) => ({
      opcode: opcodeName(opcode),
      count: histogram.totalCount,
      meanUs: microseconds(histogram.mean),
      p50Us: microseconds(histogram.getValueAtPercentile(50)),
      p90Us: microseconds(histogram.getValueAtPercentile(90)),
      p99Us: microseconds(histogram.getValueAtPercentile(99)),
      maxUs: microseconds(histogram.maxValue),
    }))
  }
}

/** One decimal is what the histogram's precision is good for. */
function microseconds(ns: number): number {
  return Math.round(ns / 100) / 10
}
