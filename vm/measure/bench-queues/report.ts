import { ruledTable } from '../../../src/commands/text-table.js'
import type { RunResult } from '../bench-device/load-generator.js'
import { median, spread } from '../statistics.js'

/** one: one thread of the device serves all queues. apart: a device for each queue. threads: a thread for each queue. */
export const SIDES = ['one', 'apart', 'threads'] as const
export type Side = (typeof SIDES)[number]

/** One round: the same job by each side. */
export type QueueRound = Readonly<Record<Side, RunResult>>

export interface QueueCase {
  readonly name: string
  readonly rounds: readonly QueueRound[]
}

/** Adds up runs that took place at the same time. */
export function together(runs: readonly RunResult[]): RunResult {
  const first = runs[0]
  if (first === undefined) throw new RangeError('no runs to add up')
  const sum = (measure: (run: RunResult) => number): number =>
    runs.reduce((all, run) => all + measure(run), 0)
  const ops = sum((run) => run.ops)
  const each = (measure: (run: RunResult) => number): number => sum((run) => run.ops * measure(run)) / ops
  return {
    ...first,
    ops,
    opsPerSec: sum((run) => run.opsPerSec),
    mbPerSec: sum((run) => run.mbPerSec),
    p50Us: each((run) => run.p50Us),
    p99Us: Math.max(...runs.map((run) => run.p99Us)),
    deviceCpuUs: each((run) => run.deviceCpuUs),
    guestCpuUs: each((run) => run.guestCpuUs),
    deviceUserTicks: sum((run) => run.deviceUserTicks),
    deviceKernelTicks: sum((run) => run.deviceKernelTicks),
    othersCpu: Math.min(...runs.map((run) => run.othersCpu)),
  }
}

/**
 * Returns how many times the operations of one thread `threads` threads can do on `processors`, if an operation takes the
 * device `deviceUs` and the guest `guestUs` of processor time, the guest has as many threads, and nobody ever waits.
 */
export function bound(deviceUs: number, guestUs: number, threads: number, processors: number): number {
  const all = processors / (deviceUs + guestUs)
  const one = Math.min(1 / deviceUs, threads / guestUs, all)
  const several = Math.min(threads / deviceUs, threads / guestUs, all)
  return several / one
}

const COLUMNS = [
  { title: 'workload' },
  { title: 'side' },
  { title: 'per second', align: 'right' },
  { title: 'x one', align: 'right' },
  { title: 'worst..best' },
  { title: 'device us', align: 'right' },
  { title: 'guest us', align: 'right' },
  { title: 'CPU x one', align: 'right' },
  { title: 'p99 us', align: 'right' },
  { title: 'others', align: 'right' },
] as const

const MACHINES = [
  [2, 2],
  [2, 4],
  [4, 4],
  [4, 8],
  [8, 8],
] as const

/** Medians of all rounds, and of the ratios to one thread of the device in the same round. */
export function formatQueues(cases: readonly QueueCase[]): string {
  const rows = cases.flatMap((each) => SIDES.map((side, n) => rowOf(each, side, n === 0 ? each.name : '')))
  return `${ruledTable(COLUMNS, rows)}\n${formatBounds(cases)}`
}

function rowOf({ rounds }: QueueCase, side: Side, name: string): string[] {
  const of = (measure: (run: RunResult) => number): number =>
    median(rounds.map((round) => measure(round[side])))
  const gains = rounds.map((round) => round[side].opsPerSec / round.one.opsPerSec)
  const costs = rounds.map((round) => round[side].deviceCpuUs / round.one.deviceCpuUs)
  return [
    name,
    side,
    of((run) => run.opsPerSec).toFixed(0),
    `${median(gains).toFixed(2)} ±${(100 * spread(gains)).toFixed(0)}%`,
    `${Math.min(...gains).toFixed(2)}..${Math.max(...gains).toFixed(2)}`,
    of((run) => run.deviceCpuUs).toFixed(2),
    of((run) => run.guestCpuUs).toFixed(2),
    `${median(costs).toFixed(2)} ±${(100 * spread(costs)).toFixed(0)}%`,
    of((run) => run.p99Us).toFixed(0),
    of((run) => run.othersCpu).toFixed(2),
  ]
}

function formatBounds(cases: readonly QueueCase[]): string {
  const rows = cases.map(({ name, rounds }) => {
    const deviceUs = median(rounds.map(({ one }) => one.deviceCpuUs))
    const guestUs = median(rounds.map(({ one }) => one.guestCpuUs))
    return [name, ...MACHINES.map(([threads, cpus]) => bound(deviceUs, guestUs, threads, cpus).toFixed(2))]
  })
  const titles = MACHINES.map(([threads, cpus]) => ({
    title: `${threads} threads, ${cpus} CPUs`,
    align: 'right' as const,
  }))
  return `Most that threads could reach by these processor times, x one:\n${ruledTable([{ title: 'workload' }, ...titles], rows)}`
}
