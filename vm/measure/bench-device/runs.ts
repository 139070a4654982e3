import { type Column, ruledTable } from '../../../src/commands/text-table.js'
import type { DeviceName } from '../../device/device-process.js'
import { median } from '../statistics.js'
import { type BenchReport, type CaseResult, medianOf, ratios, throughput } from './comparison.js'
import type { RunResult } from './load-generator.js'
import { cpuOf } from './report.js'

const OURS: DeviceName = 'virtiofsd-ts'

/** Puts the rounds of the same cases behind each other. Each list has the cases in the same order. */
export function joinRuns(runs: readonly (readonly CaseResult[])[]): CaseResult[] {
  const [first = [], ...others] = runs
  return first.map(({ name, runs: rounds }, n) => {
    const joined = { ...rounds }
    for (const other of others)
      for (const [device, more] of Object.entries(other[n]?.runs ?? {}) as [DeviceName, RunResult[]][])
        joined[device] = [...(joined[device] ?? []), ...more]
    return { name, runs: joined }
  })
}

/**
 * Formats what several runs agree on, a line for each case. A ratio is the median of those of the runs; the lowest and the
 * highest run are behind it. The ratio of a run is the median of its rounds.
 */
export function formatRuns({ cases, devices, setup }: BenchReport): string {
  const peers = devices.filter((device) => device !== OURS)
  const columns: Column[] = [
    { title: 'workload' },
    { title: 'per second', align: 'right' },
    { title: 'CPU us', align: 'right' },
    ...peers.flatMap((peer) => [
      { title: `x ${peer}` },
      { title: 'CPU us', align: 'right' } as const,
      { title: 'CPU' },
    ]),
  ]
  return ruledTable(
    columns,
    cases.map((result) => [
      result.name,
      medianOf(result.runs[OURS] ?? [], throughput).toFixed(0),
      medianOf(result.runs[OURS] ?? [], cpuOf).toFixed(2),
      ...peers.flatMap((peer) => [
        overRuns(ratios(result, OURS, peer, throughput), setup.rounds),
        medianOf(result.runs[peer] ?? [], cpuOf).toFixed(2),
        overRuns(ratios(result, OURS, peer, cpuOf), setup.rounds),
      ]),
    ]),
  )
}

/** Returns the median of the runs' medians, and the lowest and highest of them. */
function overRuns(values: readonly number[], rounds: number): string {
  const medians: number[] = []
  for (let at = 0; at < values.length; at += rounds) medians.push(median(values.slice(at, at + rounds)))
  const [low, high] = [Math.min(...medians), Math.max(...medians)]
  return `${median(medians).toFixed(2)} (${low.toFixed(2)}..${high.toFixed(2)})`
}
