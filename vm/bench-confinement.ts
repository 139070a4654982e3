/**
 * `make bench-confinement`: the cost of a sandbox and of a filter of system calls for our device, compared without
 * them.
 */
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { CASES } from './measure/bench-device/cases.js'
import { Contender } from './measure/bench-device/contender.js'
import type { Job, RunResult } from './measure/bench-device/load-generator.js'
import { geometricMean, median, spread } from './measure/statistics.js'

const SIDES = {
  confined: ['--sandbox', 'namespace', '--seccomp', 'kill'],
  free: ['--sandbox', 'none', '--seccomp', 'none'],
} as const
type Side = keyof typeof SIDES

const WORKLOADS =
  /^(getattr|lookup . forget|open . release|create . unlink|(read|write) (4 KiB random|128 KiB|1 MiB)), (1|32) deep$/
const ROUNDS_OF_A_PAIR = 3
const WARM_UP_MS = 60

interface Options {
  pairs: number
  runMs: number
  args?: string
}

/** Confined divided by free, for each round. */
interface Ratios {
  readonly ops: number[]
  readonly cpu: number[]
}

/**
 * Measures a new pair of processes: even two processes of one program differ by the placement of their code and
 * memory.
 */
async function measurePair(results: ReadonlyMap<string, Ratios>, { runMs, args }: Options): Promise<void> {
  const share = makeBenchShare(SHARE_PATHS.memory)
  const start = (side: Side): Promise<Contender> =>
    Contender.start({
      device: 'virtiofsd-ts',
      args: ['--cache', 'never', ...SIDES[side], ...(args?.split(' ') ?? [])],
      share,
      placement: 'apart',
    })
  const pair = { confined: await start('confined'), free: await start('free') }
  for (const { name, job } of chosenCases()) {
    // V8 compiles frequent code, so a first run warms it up.
    for (const contender of Object.values(pair)) await contender.run(job, runMs, 0)
    for (let round = 0; round < ROUNDS_OF_A_PAIR; round++) {
      const { confined, free } = await runBoth(pair, job, runMs, round % 2 === 0)
      results.get(name)?.ops.push(confined.opsPerSec / free.opsPerSec)
      results.get(name)?.cpu.push(confined.deviceCpuUs / free.deviceCpuUs)
    }
  }
  for (const contender of Object.values(pair)) await contender.stop()
}

/** Runs one directly after the other, and each as often first. */
async function runBoth(
  pair: Readonly<Record<Side, Contender>>,
  job: Job,
  runMs: number,
  confinedFirst: boolean,
): Promise<Record<Side, RunResult>> {
  const order: Side[] = confinedFirst ? ['confined', 'free'] : ['free', 'confined']
  const results: Partial<Record<Side, RunResult>> = {}
  for (const side of order) results[side] = await pair[side].run(job, runMs, Math.min(runMs, WARM_UP_MS))
  return results as Record<Side, RunResult>
}

function chosenCases() {
  return CASES.filter(({ name }) => WORKLOADS.test(name))
}

/** Combines all workloads of one round. */
function overall(results: ReadonlyMap<string, Ratios>, measure: keyof Ratios): number[] {
  const all = [...results.values()].map((ratios) => ratios[measure])
  return (all[0] ?? []).map((_, round) => geometricMean(all.map((values) => values[round] ?? Number.NaN)))
}

/** Formats "+1.2 % ±0.8": the median's distance from 1, and half of the distance between the quartiles. */
function describeChange(ratios: readonly number[]): string {
  const percent = 100 * (median(ratios) - 1)
  return `${percent < 0 ? '' : '+'}${percent.toFixed(1)} % ±${(100 * spread(ratios)).toFixed(1)}`
}

function print(results: ReadonlyMap<string, Ratios>): void {
  const together = { ops: overall(results, 'ops'), cpu: overall(results, 'cpu') }
  const rows = [...results, ['all together', together] as const].map(([name, { ops, cpu }]) => [
    name,
    describeChange(ops),
    describeChange(cpu),
  ])
  const columns = [
    { title: `confined, ${together.ops.length} rounds` },
    { title: 'operations a second', align: 'right' },
    { title: 'device CPU for each', align: 'right' },
  ] as const
  process.stdout.write(ruledTable(columns, rows))
}

async function run(options: Options): Promise<void> {
  const results = new Map(chosenCases().map(({ name }) => [name, { ops: [], cpu: [] }]))
  for (let n = 1; n <= options.pairs; n++)
    await showProgress(`pair ${n} of ${options.pairs}`, () => measurePair(results, options))
  print(results)
}

const command = new Command('bench-confinement')
  .description(
    `Measures our device confined (${SIDES.confined.join(' ')}) beside our device as it is (${SIDES.free.join(' ')}).`,
  )
  .option('--pairs <count>', `of devices, each measured ${ROUNDS_OF_A_PAIR} times`, parseCount, 5)
  .option('--run-ms <ms>', 'for each workload of a round', parseCount, 400)
  .option('--args <options>', 'further options for both devices')
  .exitOverride()
await runAsProgram(command, run)
