import { build, type Histogram } from 'hdr-histogram-js'
import type { TracedRequest } from '../inspect/trace-format.js'
import type { TimedRequest } from '../inspect/trace-reader.js'
import { opcodeName } from '../virtio-fs/abi.js'
import { textTable } from './text-table.js'

/** What a summary can group by, and the group of a request. */
export const groupings = {
  opcode: ({ opcode }: TracedRequest) => opcodeName(opcode),
  path: ({ path, nodeid }: TracedRequest) => (path === undefined ? `node ${nodeid}` : path || '.'),
  node: ({ nodeid }: TracedRequest) => `${nodeid}`,
  queue: ({ queue }: TracedRequest) => `${queue}`,
  pid: ({ pid }: TracedRequest) => `${pid}`,
} as const

export type SummaryKey = keyof typeof groupings

/** One group. Latencies in microseconds, from seen on the ring to given back. */
export interface SummaryRow {
  readonly group: string
  readonly count: number
  readonly errors: number
  readonly faults: number
  /** Most WRITEs of one inode in flight at once; 0 when nothing counted them. */
  readonly overlap: number
  readonly p50Us: number
  readonly p99Us: number
  readonly maxUs: number
}

const LONGEST_NS = 3_600_000_000_000
const DIGITS = 2

class Group {
  readonly latency: Histogram = build({
    highestTrackableValue: LONGEST_NS,
    numberOfSignificantValueDigits: DIGITS,
    // There may be as many groups as paths.
    bitBucketSize: 'packed',
  })
  errors = 0
  faults = 0
  overlap = 0

  add({ latencyUs, error, faultId, overlap }: TracedRequest): void {
    this.latency.recordValue(Math.min(LONGEST_NS, Math.max(1, Math.round(latencyUs * 1000))))
    if (error !== 0) this.errors++
    if (faultId !== 0) this.faults++
    this.overlap = Math.max(this.overlap, overlap)
  }
}

/** The groups, the largest first. */
export function summarise(requests: Iterable<TimedRequest>, by: SummaryKey): SummaryRow[] {
  const groups = new Map<string, Group>()
  for (const { request } of requests) {
    const name = groupings[by](request)
    const group = groups.get(name) ?? new Group()
    group.add(request)
    groups.set(name, group)
  }
  return [...groups]
    .map(([group, { latency, errors, faults, overlap }]) => ({
      group,
      count: latency.totalCount,
      errors,
      faults,
      overlap,
      p50Us: latency.getValueAtPercentile(50) / 1000,
      p99Us: latency.getValueAtPercentile(99) / 1000,
      maxUs: latency.maxValue / 1000,
    }))
    .sort((a, b) => b.count - a.count)
}

export function summaryTable(rows: readonly SummaryRow[], by: SummaryKey): string {
  const numbers = ['count', 'errors', 'faults', 'overlap', 'p50 us', 'p99 us', 'max us']
  return textTable(
    [{ title: by }, ...numbers.map((title) => ({ title, align: 'right' as const }))],
    rows.map((row) => [
      row.group,
      ...[row.count, row.errors, row.faults].map(String),
      row.overlap === 0 ? '-' : `${row.overlap}`,
      ...[row.p50Us, row.p99Us, row.maxUs].map((us) => us.toFixed(1)),
    ]),
  )
}
