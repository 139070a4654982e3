/** `make bench-queues`: several queues served by one thread, beside as many devices with a queue each, and by a thread for each. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { Command, Option } from 'commander'
import { runCommand } from './host/command.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { Contender, fairArgs } from './measure/bench-device/contender.js'
import type { Job, LoadGenerator, RunResult } from './measure/bench-device/load-generator.js'
import {
  formatQueues,
  type QueueCase,
  type QueueRound,
  type Side,
  together,
} from './measure/bench-queues/report.js'

const KIB = 1024
const WARM_UP_MS = 100
const DEVICE = 'virtiofsd-ts'

interface Options {
  queues: number
  depth: number
  rounds: number
  runMs: number
  only?: string
  pollUs?: number
  pinned: 'nothing' | 'device' | 'queues'
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
  const { queues, depth, rounds, runMs, only, pollUs, pinned } = options
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
  const several = (count: number) => ({
    queues,
    threads: true,
    args: [...args, `--queue-threads=${count}`],
  })
  const sides = new Map<Side, (job: Job) => Promise<RunResult>>()
  const add = (side: Side, contender: Contender) =>
    sides.set(side, (job) => contender.run(job, runMs, WARM_UP_MS))
  add('one', await start(several(1)))
  const apart: Contender[] = []
  for (let n = 0; n < queues; n++) apart.push(await start({}))
  sides.set('apart', async (job) =>
    together(await Promise.all(apart.map((each) => each.run(job, runMs, WARM_UP_MS)))),
  )
  add('threads', await start(several(queues)))
  if (pinned !== 'nothing')
    for (const contender of all) await pinThreads(contender, apart.indexOf(contender), options)
  const cases: QueueCase[] = []
  for (const [name, workload] of Object.entries(WORKLOADS)) {
    if (!new RegExp(only ?? '').test(name)) continue
    const job = { ...workload, depth }
    cases.push({ name, rounds: await showProgress(name, () => measure(sides, job, rounds)) })
  }
  process.stdout.write(
    `${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}; ` +
      `${queues} queues, ${depth} deep on each; medians of ${rounds} rounds of ${runMs} ms, ` +
      `pinned: ${pinned}\n\n`,
  )
  process.stdout.write(formatQueues(cases))
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(cases)}\n`)
  for (const contender of all) await contender.stop()
}

/**
 * Pins the threads of each queue to one processor. `number`: that of a device with one queue; -1: it has all of them. A single
 * thread for all queues may run anywhere.
 */
async function pinThreads(
  { load, device }: Contender,
  number: number,
  { pinned, queues }: Options,
): Promise<void> {
  const taskset = (cpu: number, tid: number) =>
    runCommand('taskset', [
      ...(number < 0 ? [] : ['--all-tasks']),
      '--cpu-list',
      '--pid',
      String(cpu),
      String(tid),
    ])
  if (number >= 0) {
    if (pinned === 'queues') load.pin(number)
    await taskset(number, device.pid)
    return
  }
  if (pinned === 'queues') load.spread()
  const busy = await busiestThreads(load, device.pid, queues)
  if (busy.length < queues) return
  for (const [cpu, tid] of busy.entries()) await taskset(cpu, tid)
}

/** Returns the threads that serve queues, at most `count`, in the order of their start. */
async function busiestThreads(load: LoadGenerator, pid: number, count: number): Promise<number[]> {
  const tids = readdirSync(`/proc/${pid}/task`).map(Number)
  const usedNs = (tid: number) =>
    Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0])
  const before = new Map(tids.map((tid) => [tid, usedNs(tid)]))
  await load.run({ workload: 'getattr', depth: 32 }, 300, 300)
  const used = tids.map((tid) => ({ tid, ns: usedNs(tid) - before.get(tid)! }))
  // V8's compiler may have worked as well, for less time.
  const busiest = used.filter(({ ns }) => ns > 1e8).sort((a, b) => b.ns - a.ns)
  const chosen = new Set(busiest.slice(0, count).map(({ tid }) => tid))
  return tids.filter((tid) => chosen.has(tid))
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
    'Measures several queues that one thread serves, beside as many devices with one queue each, and beside a thread for ' +
      'each queue. Options after -- go to each device.',
  )
  .option('--queues <count>', 'request queues', parseCount, 2)
  .option('--depth <count>', 'requests in flight on each queue', parseCount, 32)
  .option('--rounds <count>', 'how often each side runs each workload', parseCount, 9)
  .option('--run-ms <ms>', 'how long each run takes', parseCount, 400)
  .option('--only <pattern>', 'only workloads whose name matches this regular expression')
  .option('--poll-us <us>', 'the longest spin of each device', Number)
  .addOption(
    new Option(
      '--pinned <what>',
      'device: each of its threads to a processor; queues: also the guest’s thread of that queue',
    )
      .choices(['nothing', 'device', 'queues'])
      .default('nothing'),
  )
  .option('--json <file>', 'write all runs as JSON')
  .argument('[device options...]')
  .exitOverride()

await runAsProgram(command, run, describeFailure)
