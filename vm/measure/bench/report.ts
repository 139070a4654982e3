import { ruledTable } from '../../../src/commands/text-table.js'
import { type Estimate, ROUNDS_FOR_VERDICT, relativeSpread, type Verdict } from '../statistics.js'
import type { Measurement } from './measure.js'

/** All results of a benchmark; --json writes them. */
export interface BenchResult {
  version: 1
  startedAt: string
  seconds: number
  /** The command line, so that others can repeat the run. */
  command: string
  /** Processors and their number, accelerator, memory of the guest. */
  host: string
  guest: string
  peer: string | undefined
  rounds: number
  runtimeMs: number
  measurements: Measurement[]
}

const left = (title: string) => ({ title })
const right = (title: string) => ({ title, align: 'right' as const })

const columns = [
  left('cache'),
  left('workload'),
  left(''),
  ...['ours', '', 'peer', '', 'ratio', '', ''].map(right),
  ...['guest us', 'device us', 'CPU us', 'peer CPU'].map(right),
]

/** Returns a line for each measurement, and a legend of the columns. */
export function benchTable({ measurements, peer, rounds }: BenchResult): string {
  const counts = (wanted: Verdict) => measurements.filter(({ verdict }) => verdict === wanted).length
  const summary =
    peer === undefined
      ? 'Ours ran alone: there was no peer to compare with.'
      : `Against ${peer}: ${counts('faster')} faster, ${counts('same')} the same within noise, ${counts('slower')} slower.`
  const few =
    peer !== undefined && rounds < ROUNDS_FOR_VERDICT
      ? ` ${rounds} rounds prove nothing: a verdict needs ${ROUNDS_FOR_VERDICT}.`
      : ''
  return `${ruledTable(columns, measurements.map(rowOf))}
${summary}${few}
Medians of ${rounds} rounds; behind each half of its interval; the ratio is that of pairs, and + or - says that its whole
interval is above or below 1. guest us: one request as the guest's program waits for it (ours). device us: median from
seen on the ring to given back (ours, in a run of its own). CPU us: processor time of the device for each operation.
`
}

function rowOf({ policy, workload, unit, ours, peer, ratio, verdict, deviceLatency }: Measurement): string[] {
  return [
    policy,
    workload,
    unit,
    ...estimateCells(ours.rate),
    ...(peer === undefined ? ['', ''] : estimateCells(peer.rate)),
    ...(ratio === undefined ? ['', '', ''] : [ratio.median.toFixed(2), intervalOf(ratio), markOf(verdict)]),
    ours.guestUs.median.toFixed(0),
    deviceUs(deviceLatency)
      .map((us) => us.toFixed(0))
      .join(' + ') || '-',
    ours.cpuUsPerOp.toFixed(1),
    peer?.cpuUsPerOp.toFixed(1) ?? '',
  ]
}

/** Returns the median latency of each opcode that occurred. */
export function deviceUs(latencies: Measurement['deviceLatency']): number[] {
  return latencies.filter(({ count }) => count > 0).map(({ p50Us }) => p50Us)
}

function estimateCells(estimate: Estimate): string[] {
  return [rounded(estimate.median), `±${(100 * relativeSpread(estimate)).toFixed(0)}%`]
}

export function intervalOf({ low, high }: Estimate): string {
  return `${low.toFixed(2)}..${high.toFixed(2)}`
}

function markOf(verdict: Verdict | undefined): string {
  return { faster: '+', same: '', slower: '-' }[verdict ?? 'same']
}

/** Formats a number with at least three digits. */
export function rounded(number: number): string {
  return number >= 100 ? number.toFixed(0) : number.toPrecision(3)
}
