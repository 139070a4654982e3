/**
 * `make bench-queues`: several queues served by one thread, beside as many devices with a queue each, and beside a prototype
 * whose queues have a thread each.
 */
import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { Contender, fairArgs } from './measure/bench-device/contender.js'
import type { Job, RunResult } from './measure/bench-device/load-generator.js'
import { formatQueues, type QueueCase, type QueueRound, type Side, together } from './measure/bench-queues/report.js'

const KIB = 1024
const WARM_UP_MS = 100
const DEVICE = 'virtiofsd-ts'
const PROTOTYPE = fileURLToPath(new URL('./measure/bench-queues/device/main.js', import.meta.url))

interface Options {
  queues: number
  depth: number
  rounds: number
  runMs: number
  only?: string
  pollUs?: number
  json?: string
}

const WORKLOADS: Readonly<Record<string, Omit<Job, 'depth'>>> = {
  getattr: { workload: 'getattr' },
  'lookup + forget': { workload: 'lookup+forget' },
  'open + release': { workload: 'open+release' },
  'create + unlink': { workload: 'create+unlink' },
  'read 4 KiB': { workload: 'read-random', bytes: 4 * KIB },
  'write 4 KiB': { workload: 'write-random', bytes: 4 * KIB },
}

type Sides = ReadonlyMap<Side, (job: Job) => Promise<RunResult>>

async function run(options: Options, ownArgs: string[]): Promise<void> {
  const { queues, depth, rounds, runMs, only, pollUs } = options
  const share = makeBenchShare(SHARE_PATHS.memory)
  const spin = pollUs === undefined ? [] : [`--poll-us=${pollUs}`]
  const args = [...fairArgs(DEVICE, false), ...spin, ...ownArgs]
  const common = { device: DEVICE, args, share, placement: 'free' } as const
  const all: Contender[] = []
  const start = async (of: Partial<Parameters<typeof Contender.start>[0]>): Promise<Contender> => {
    const contender = await Contender.start({ ...common, ...of })
    all.push(contender)
    return contender
  }
  const several = { queues, threads: true }
  const prototype = (threads: number, tables: string) => ({
    ...several,
    program: { command: process.execPath, args: [PROTOTYPE, String(threads), tables] },
  })
  const sides = new Map<Side, (job: Job) => Promise<RunResult>>()
  const add = (side: Side, contender: Contender) => sides.set(side, (job) => contender.run(job, runMs, WARM_UP_MS))
  add('one', await start(several))
  const apart: Contender[] = []
  for (let n = 0; n < queues; n++) apart.push(await start({}))
  sides.set('apart', async (job) =>
    together(await Promise.all(apart.map((each) => each.run(job, runMs, WARM_UP_MS)))),
  )
  add('own tables', await start(prototype(1, 'own')))
  add('shared tables', await start(prototype(1, 'shared')))
  add('threads', await start(prototype(queues, 'shared')))
  const cases: QueueCase[] = []
  for (const [name, workload] of Object.entries(WORKLOADS)) {
    if (!new RegExp(only ?? '').test(name)) continue
    const job = { ...workload, depth }
    cases.push({ name, rounds: await showProgress(name, () => measure(sides, job, rounds)) })
  }
  process.stdout.write(
    `${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}; ` +
      `${queues} queues, ${depth} deep on each; medians of ${rounds} rounds of ${runMs} ms, nothing pinned\n\n`,
  )
  process.stdout.write(formatQueues(cases))
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(cases)}\n`)
  for (const contender of all) await contender.stop()
}

/** The sides take turns, and turns to be the first. */
async function measure(sides: Sides, job: Job, count: number): Promise<QueueRound[]> {
  const rounds: QueueRound[] = []
  const all = [...sides]
  for (let round = 0; round < count; round++) {
    const results = new Map<Side, RunResult>()
    for (let n = 0; n < all.length; n++) {
      const [side, measured] = all[(round + n) % all.length]!
      results.set(side, await measured(job))
    }
    rounds.push(Object.fromEntries(results) as QueueRound)
  }
  return rounds
}

const command = new Command('bench-queues')
  .description(
    'Measures several queues that one thread serves, beside as many devices with one queue each, and a prototype with a ' +
      'thread for each queue. Options after -- go to each device.',
  )
  .option('--queues <count>', 'request queues', parseCount, 2)
  .option('--depth <count>', 'requests in flight on each queue', parseCount, 32)
  .option('--rounds <count>', 'how often each side runs each workload', parseCount, 9)
  .option('--run-ms <ms>', 'how long each run takes', parseCount, 400)
  .option('--only <pattern>', 'only workloads whose name matches this regular expression')
  .option('--poll-us <us>', 'the longest spin of each device', Number)
  .option('--json <file>', 'write all runs as JSON')
  .argument('[device options...]')
  .exitOverride()

await runAsProgram(command, run, describeFailure)
