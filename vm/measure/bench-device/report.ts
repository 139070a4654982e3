import { ruledTable } from '../../../src/commands/text-table.js'
import type { DeviceName } from '../../device/device-process.js'
import { median, spread } from '../statistics.js'
import type { Case, Targets } from './cases.js'
import { type BenchReport, type CaseResult, medianOf, ratios, type Setup, throughput } from './comparison.js'
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
  { title: 'target', align: 'right' },
  { title: 'CPU', align: 'right' },
  { title: 'target', align: 'right' },
] as const

/** Medians of all rounds, a line for each device; ratios of ours to each peer with their spread and targets. */
export function formatCase(
  known: Case,
  result: CaseResult,
  devices: readonly DeviceName[],
  setup: Setup,
): string[][] {
  const rows: string[][] = []
  for (const device of devices) {
    const runs = result.runs[device] ?? []
    const first = rows.length === 0 ? known.name : ''
    rows.push([first, device, ...figures(runs), ...comparison(known.targets, result, device, setup)])
    if (known.job.beside !== undefined)
      rows.push(['', `  ${known.job.beside.workload}`, ...besideFigures(runs)])
  }
  return rows
}

export function formatReport(cases: readonly Case[], report: BenchReport): string {
  const { setup, devices } = report
  const rows = cases.flatMap((known) => {
    const result = report.cases.find(({ name }) => name === known.name)
    return result === undefined ? [] : formatCase(known, result, devices, setup)
  })
  return ruledTable(COLUMNS, rows)
}

/** Each target that was missed, in words. */
export function missedTargets(
  cases: readonly Case[],
  { cases: results, devices, setup }: BenchReport,
): string[] {
  const missed: string[] = []
  for (const known of cases) {
    const result = results.find(({ name }) => name === known.name)
    if (result === undefined) continue
    for (const device of devices) {
      if (device === OURS) continue
      const wanted = wantedRatio(known.targets, device, setup)
      const ratio = median(ratios(result, OURS, device, throughput))
      if (wanted !== undefined && ratio < wanted)
        missed.push(`${known.name}: ${ratio.toFixed(2)} of ${device}, wanted ${wanted}`)
      const cpuWanted = wantedCpu(known.targets, device)
      const cpu = median(ratios(result, OURS, device, cpuOf))
      if (cpuWanted !== undefined && cpu > cpuWanted)
        missed.push(`${known.name}: CPU ${cpu.toFixed(2)} of ${device}, wanted ${cpuWanted}`)
    }
  }
  return missed
}

const cpuOf = (result: RunResult): number =>
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

/** Processor time for each operation in the device's own code and in the kernel: the median, as all samples divide it. */
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

function comparison(targets: Targets, result: CaseResult, device: DeviceName, setup: Setup): string[] {
  if (device === OURS) return []
  const all = ratios(result, OURS, device, throughput)
  const cpu = median(ratios(result, OURS, device, cpuOf))
  const wanted = wantedRatio(targets, device, setup)
  const cpuWanted = wantedCpu(targets, device)
  return [
    `x ${median(all).toFixed(2)} ±${(100 * spread(all)).toFixed(0)}%`,
    wanted === undefined ? '' : `${median(all) >= wanted ? '' : 'MISSED '}${wanted}`,
    cpu.toFixed(2),
    cpuWanted === undefined ? '' : `${cpu <= cpuWanted ? '' : 'MISSED '}${cpuWanted}`,
  ]
}

/** The targets of the table hold for two processors; on one, or wherever the kernel likes, nothing may be slower. */
function wantedRatio(
  targets: Targets,
  device: DeviceName,
  { placement, ourArgs }: Setup,
): number | undefined {
  if (placement !== 'apart') return 1
  if (device === 'virtiofsd-c') return targets.c
  return ourArgs.includes('--poll-us=0') ? targets.rustUnpolled : targets.rust
}

function wantedCpu(targets: Targets, device: DeviceName): number | undefined {
  return device === 'virtiofsd-c' ? undefined : targets.cpu
}
