import { opcodeName } from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../inspect/trace-format.js'
import type { TimedRequest } from '../inspect/trace-reader.js'
import { textTable } from './text-table.js'

/** Each property that a summary can group by, with a function that names a request's group. */
export const groupings = {
  opcode: ({ opcode }: TracedRequest) => opcodeName(opcode),
  path: ({ path, nodeid }: TracedRequest) => (path === undefined ? `node ${nodeid}` : path || '.'),
  node: ({ nodeid }: TracedRequest) => `${nodeid}`,
  queue: ({ queue }: TracedRequest) => `${queue}`,
  pid: ({ pid }: TracedRequest) => `${pid}`,
} as const

export type SummaryKey = keyof typeof groupings

/** One group. Latencies are in microseconds, from the request's arrival on the ring to its completion. */
export interface SummaryRow {
  readonly group: string
  readonly count: number
  readonly errors: number
  readonly faults: number
  /** The most WRITEs of one inode in flight at once; 0 if they were not counted. */
  readonly overlap: number
  readonly p50Us: number
  readonly p99Us: number
  readonly maxUs: number
}

class Group {
  /**
   * A sorted list rather than a histogram: there may be as many groups as paths, and a histogram for each is
   * larger.
   */
  readonly latenciesUs: number[] = []
  errors = 0
  faults = 0
  overlap = 0

  add({ latencyUs, error, faultId, overlap }: TracedRequest): void {
    this.latenciesUs.push(latencyUs)
    if (error !== 0) this.errors++
    if (faultId !== 0) this.faults++
    this.overlap = Math.max(this.overlap, overlap)
  }
}

/** Summarises requests by group, the largest group first. */
export function summarise(requests: Iterable<TimedRequest>, by: SummaryKey): SummaryRow[] {
  const groups = new Map<string, Group>()
  for (const { request } of requests) {
    const name = groupings[by](request)
    const group = groups.get(name) ?? new Group()
    group.add(request)
    groups.set(name, group)
  }
  return [...groups]
    .map(([group, { latenciesUs, errors, faults, overlap }]) => {
      const sorted = Float64Array.from(latenciesUs).sort()
      const count = sorted.length
      // Returns the least latency that `p` percent of the requests do not exceed. A group has at least one
      // request.
      const percentile = (p: number) => sorted[Math.ceil((p * count) / 100) - 1] ?? 0
      const [p50Us, p99Us, maxUs] = [percentile(50), percentile(99), percentile(100)]
      return { group, count, errors, faults, overlap, p50Us, p99Us, maxUs }
    })
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
