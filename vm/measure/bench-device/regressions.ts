import type { DeviceName } from '../../device/device-process.js'
import { median, spread } from '../statistics.js'
import { type BenchReport, type CaseResult, ratios, throughput } from './comparison.js'
import type { RunResult } from './load-generator.js'

const OURS: DeviceName = 'virtiofsd-ts'
/** The least noise assumed for any machine. */
const LEAST_NOISE = 0.05

/** A case that became slower, or dearer, by more than its noise. */
export interface Regression {
  readonly name: string
  readonly measure: 'throughput' | 'device CPU'
  /** Ratios to the peer if both reports have them, absolute figures otherwise. */
  readonly before: number
  readonly after: number
  readonly noise: number
}

/**
 * Compares ratios to a peer measured in the same minutes, since a busier or another machine changes them little.
 * Without a common peer, compares the figures themselves.
 */
export function findRegressions(before: BenchReport, after: BenchReport): Regression[] {
  const found: Regression[] = []
  const peer = before.devices.find((device) => device !== OURS && after.devices.includes(device))
  for (const old of before.cases) {
    const now = after.cases.find(({ name }) => name === old.name)
    if (now === undefined) continue
    const speed = change(old, now, peer, throughput)
    if (speed.after < speed.before * (1 - speed.noise))
      found.push({ name: old.name, measure: 'throughput', ...speed })
    const cpu = change(old, now, peer, (run) => run.deviceCpuUs)
    if (cpu.after > cpu.before * (1 + cpu.noise))
      found.push({ name: old.name, measure: 'device CPU', ...cpu })
  }
  return found
}

function change(
  old: CaseResult,
  now: CaseResult,
  peer: DeviceName | undefined,
  measure: (run: RunResult) => number,
): { before: number; after: number; noise: number } {
  const valuesOf = (result: CaseResult): number[] =>
    peer === undefined ? (result.runs[OURS] ?? []).map(measure) : ratios(result, OURS, peer, measure)
  const before = valuesOf(old)
  const after = valuesOf(now)
  const noise = Math.max(LEAST_NOISE, 2 * spread(before), 2 * spread(after))
  return { before: median(before), after: median(after), noise }
}
