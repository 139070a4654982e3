import { LATENCY_BUCKETS, type LatencyCounts, latencyBoundUs } from 'virtio-fs-ts/protocol'
import type { ReportedShare } from '../control/share-reports.js'

/** The activity of one opcode between two reports. */
export interface OpcodeRow {
  readonly opcode: string
  readonly perSecond: number
  readonly errorsPerSecond: number
  /** Upper bounds in microseconds; undefined without a request. */
  readonly p50Us: number | undefined
  readonly p99Us: number | undefined
}

/** The activity of a share between two reports. */
export interface ShareRow extends Omit<OpcodeRow, 'opcode'> {
  readonly share: ReportedShare
  readonly readPerSecond: number
  readonly writtenPerSecond: number
  /** The busiest opcode first. */
  readonly opcodes: readonly OpcodeRow[]
}

/** Compares a report of a share with the one before, `seconds` earlier. Of a new share nothing is known yet. */
export function shareRow(
  earlier: ReportedShare | undefined,
  share: ReportedShare,
  seconds: number,
): ShareRow {
  const before = earlier ?? share
  const rate = (now: number, then: number) => rateOf(now, then, seconds)
  const names = Object.keys(share.counts.requests)
  const opcodes = names
    .map((opcode) => ({
      opcode,
      perSecond: rate(share.counts.requests[opcode] ?? 0, before.counts.requests[opcode] ?? 0),
      errorsPerSecond: rate(share.counts.errors[opcode] ?? 0, before.counts.errors[opcode] ?? 0),
      ...percentiles(sinceThen(before.latencies, share.latencies, (one) => one === opcode)),
    }))
    .filter(({ perSecond }) => perSecond > 0)
    .sort((a, b) => b.perSecond - a.perSecond)
  const sum = (of: (row: OpcodeRow) => number) => opcodes.reduce((total, row) => total + of(row), 0)
  return {
    share,
    perSecond: sum((row) => row.perSecond),
    errorsPerSecond: sum((row) => row.errorsPerSecond),
    readPerSecond: rate(share.bytes.read, before.bytes.read),
    writtenPerSecond: rate(share.bytes.written, before.bytes.written),
    // A wait for a lock says nothing about the share.
    ...percentiles(sinceThen(before.latencies, share.latencies, (one) => one !== 'SETLKW')),
    opcodes,
  }
}

/** How much a count grew in a second. A share that began anew counts from 0. */
export function rateOf(now: number, then: number, seconds: number): number {
  return Math.max(0, now - then) / seconds
}

/** The buckets of some opcodes together, less what was in them before. */
function sinceThen(
  before: readonly LatencyCounts[],
  now: readonly LatencyCounts[],
  wanted: (opcode: string) => boolean,
): readonly number[] {
  const counts = new Array<number>(LATENCY_BUCKETS).fill(0)
  const add = (all: readonly LatencyCounts[], sign: number) => {
    for (const { opcode, buckets } of all)
      if (wanted(opcode))
        for (const [n, count] of buckets.entries()) counts[n] = (counts[n] ?? 0) + sign * count
  }
  add(now, 1)
  add(before, -1)
  return counts
}

function percentiles(counts: readonly number[]): Pick<OpcodeRow, 'p50Us' | 'p99Us'> {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return { p50Us: quantile(counts, total, 0.5), p99Us: quantile(counts, total, 0.99) }
}

function quantile(counts: readonly number[], total: number, part: number): number | undefined {
  if (total <= 0) return undefined
  let below = 0
  for (const [bucket, count] of counts.entries()) {
    below += count
    if (below >= part * total) return latencyBoundUs(bucket)
  }
  return undefined
}
