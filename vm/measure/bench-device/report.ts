import { ruledTable } from '../../../src/commands/text-table.js'
import type { DeviceName } from '../../device/device-process.js'
import { median, spread } from '../statistics.js'
import type { Case } from './cases.js'
import { type BenchReport, type CaseResult, medianOf, ratios, throughput } from './comparison.js'
import type { RunResult } from './load-generator.js'

const OURS: DeviceName = 'virtiofsd-ts'

const COLUMNS = [
  { title: 'workload' },
  { title: 'device' },
  { title: 'per second', align: 'right' },
  { title: 'MB/s', align: 'right' },
  { title: 'p50 us', align: 'right' },
  { title: 'p99 us', align: 'right' },
  { title: 'CPU us', align: 'right' },
  { title: 'own', align: 'right' },
  { title: 'kernel', align: 'right' },
  { title: 'ours is', align: 'right' },
  { title: 'CPU', align: 'right' },
] as const

/** Medians of all rounds, a line for each device; ratios of ours to each peer with their spread. */
export function formatCase(known: Case, result: CaseResult, devices: readonly DeviceName[]): string[][] {
  const rows: string[][] = []
  for (const device of devices) {
    const runs = result.runs[device] ?? []
    const first = rows.length === 0 ? known.name : ''
    rows.push([first, device, ...figures(runs), ...comparison(result, device)])
    if (known.job.beside !== undefined)
      rows.push(['', `  ${known.job.beside.workload}`, ...besideFigures(runs)])
  }
  return rows
}

export function formatReport(cases: readonly Case[], report: BenchReport): string {
  const { devices } = report
  const rows = cases.flatMap((known) => {
    const result = report.cases.find(({ name }) => name === known.name)
    return result === undefined ? [] : formatCase(known, result, devices)
  })
  return ruledTable(COLUMNS, rows)
}

/** Returns the processor time of the device for one operation; for listings, for one entry. In microseconds. */
export const cpuOf = (result: RunResult): number =>
  result.entriesPerSec > 0
    ? result.deviceCpuUs / (result.entriesPerSec / result.opsPerSec)
    : result.deviceCpuUs

function figures(runs: readonly RunResult[]): string[] {
  const mb = medianOf(runs, (run) => run.mbPerSec)
  return [
    medianOf(runs, throughput).toFixed(0),
    mb > 0 ? mb.toFixed(0) : '',
    medianOf(runs, (run) => run.p50Us).toFixed(1),
    medianOf(runs, (run) => run.p99Us).toFixed(1),
    medianOf(runs, cpuOf).toFixed(2),
    ...splitOf(runs),
  ]
}

/**
 * Returns the median processor time per operation, split into the device's own code and the kernel by all samples.
 */
function splitOf(runs: readonly RunResult[]): string[] {
  let user = 0
  let kernel = 0
  for (const { deviceUserTicks, deviceKernelTicks } of runs) {
    user += deviceUserTicks
    kernel += deviceKernelTicks
  }
  if (user + kernel === 0) return ['', '']
  const kernelUs = (medianOf(runs, cpuOf) * kernel) / (user + kernel)
  return [(medianOf(runs, cpuOf) - kernelUs).toFixed(2), kernelUs.toFixed(2)]
}

function besideFigures(runs: readonly RunResult[]): string[] {
  return [
    medianOf(runs, (run) => run.beside?.opsPerSec ?? Number.NaN).toFixed(0),
    '',
    medianOf(runs, (run) => run.beside?.p50Us ?? Number.NaN).toFixed(1),
    medianOf(runs, (run) => run.beside?.p99Us ?? Number.NaN).toFixed(1),
  ]
}

function comparison(result: CaseResult, device: DeviceName): string[] {
  if (device === OURS) return []
  const all = ratios(result, OURS, device, throughput)
  const cpu = median(ratios(result, OURS, device, cpuOf))
  return [`x ${median(all).toFixed(2)} ±${(100 * spread(all)).toFixed(0)}%`, cpu.toFixed(2)]
}
