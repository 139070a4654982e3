import type { DeviceName } from '../../device/device-process.js'
import { median } from '../statistics.js'
import type { Case } from './cases.js'
import type { Contender, Placement } from './contender.js'
import type { RunResult } from './load-generator.js'

/** The setup of a comparison. */
export interface Setup {
  /** How often everything is measured, with devices that are started anew. */
  readonly runs: number
  /** The rounds of one run. */
  readonly rounds: number
  readonly runMs: number
  readonly warmUpMs: number
  readonly placement: Placement
  readonly sandbox: boolean
  /** Options added to our command line. */
  readonly ourArgs: readonly string[]
}

/** All rounds of one case, of one run behind the other. Results of the same number followed directly on each other. */
export interface CaseResult {
  readonly name: string
  readonly runs: Readonly<Partial<Record<DeviceName, readonly RunResult[]>>>
}

/** All rounds of one case of own file systems, by their kind. The kinds are compared with the first, by rate or by p50. */
export interface OwnResult {
  readonly name: string
  readonly by: 'rate' | 'p50'
  readonly runs: Readonly<Record<string, readonly RunResult[]>>
}

/** The report that `--json` writes. */
export interface BenchReport {
  readonly version: 1
  readonly startedAt: string
  readonly host: string
  readonly setup: Setup
  readonly devices: readonly DeviceName[]
  readonly cases: readonly CaseResult[]
  /** Microseconds that the machine needs without a device, by purpose. Measured with several runs only: it takes seconds. */
  readonly floor: Readonly<Record<string, number>>
  /** File systems of a user's own. */
  readonly own: readonly OwnResult[]
}

/** Runs a case on all contenders in turn, `rounds` times. Each round starts with another contender. */
export async function compare(
  { name, job }: Case,
  contenders: readonly Contender[],
  { rounds, runMs, warmUpMs }: Setup,
): Promise<CaseResult> {
  const runs: Partial<Record<DeviceName, RunResult[]>> = {}
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < contenders.length; n++) {
      const contender = contenders[(round + n) % contenders.length]!
      const result = await contender.run(job, runMs, warmUpMs)
      runs[contender.name] ??= []
      runs[contender.name]!.push(result)
    }
  }
  return { name, runs }
}

/** Returns ours divided by theirs, for each round. */
export function ratios(
  { runs }: CaseResult,
  ours: DeviceName,
  theirs: DeviceName,
  measure: (result: RunResult) => number,
): number[] {
  const mine = runs[ours] ?? []
  const other = runs[theirs] ?? []
  return mine.slice(0, other.length).map((result, n) => measure(result) / measure(other[n]!))
}

export function medianOf(runs: readonly RunResult[], measure: (result: RunResult) => number): number {
  return median(runs.map(measure))
}

/** Returns the rate that counts for a case: entries for listings, operations for everything else. */
export function throughput(result: RunResult): number {
  return result.entriesPerSec > 0 ? result.entriesPerSec : result.opsPerSec
}
