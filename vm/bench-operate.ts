/** `make bench-operate`: what metrics and limits cost, and how exactly a limit holds. */
import { join } from 'node:path'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { DeviceProcess } from './device/device-process.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { Contender, fairArgs } from './measure/bench-device/contender.js'
import { type Job, LoadGenerator } from './measure/bench-device/load-generator.js'
import { median, spread } from './measure/statistics.js'

const WARM_UP_MS = 100
const LIMIT = 1000
const LIMIT_MS = 10_000

const jobs: Readonly<Record<string, Job>> = {
  'getattr, depth 1': { workload: 'getattr', depth: 1 },
  'getattr, depth 32': { workload: 'getattr', depth: 32 },
  'read 4k, depth 1': { workload: 'read-random', bytes: 4096, depth: 1 },
  'read 4k, depth 32': { workload: 'read-random', bytes: 4096, depth: 32 },
  'write 4k, depth 32': { workload: 'write-random', bytes: 4096, depth: 32 },
}

/** The options whose cost is measured; a limit that is never reached costs what counting costs. */
const setups: Readonly<Record<string, (dir: string) => readonly string[]>> = {
  plain: () => [],
  metrics: (dir) => ['--metrics', `unix:${join(dir, 'metrics')}`],
  limits: () => ['--limit-iops', '1000000000', '--limit-bandwidth', '1000G'],
  both: (dir) => [
    ...['--metrics', `unix:${join(dir, 'both')}`],
    ...['--limit-iops', '1000000000', '--limit-bandwidth', '1000G'],
  ],
}

interface Options {
  rounds: number
  runMs: number
}

/** Processor time of the device for an operation, with each setup in turn, as a ratio to the plain one of the same round. */
async function costs({ rounds, runMs }: Options): Promise<void> {
  const dir = makeTemporaryDir()
  const share = makeBenchShare(SHARE_PATHS.memory)
  const names = Object.keys(setups)
  const contenders: Contender[] = []
  for (const argsOf of Object.values(setups)) {
    const args = [...fairArgs('virtiofsd-ts', false), ...argsOf(dir.path)]
    contenders.push(await Contender.start({ device: 'virtiofsd-ts', args, share, placement: 'apart' }))
  }
  const rows: string[][] = []
  for (const [label, job] of Object.entries(jobs)) {
    const cpuUs: number[][] = names.map(() => [])
    await showProgress(label, async () => {
      for (let round = 0; round < rounds; round++)
        for (const [n, contender] of contenders.entries())
          cpuUs[n]?.push((await contender.run(job, runMs, WARM_UP_MS)).deviceCpuUs)
    })
    const plain = cpuUs[0] ?? []
    const cells = cpuUs.slice(1).map((all) => {
      const ratios = all.map((us, round) => us / (plain[round] ?? us))
      return `x ${median(ratios).toFixed(3)} ±${(100 * spread(ratios)).toFixed(0)}%`
    })
    rows.push([label, `${median(plain).toFixed(2)} us`, ...cells])
  }
  for (const contender of contenders) await contender.stop()
  dir.remove()
  process.stdout.write('processor time of the device for an operation\n')
  process.stdout.write(
    ruledTable(
      ['', ...names].map((title) => ({ title, align: title === '' ? 'left' : 'right' })),
      rows,
    ),
  )
}

/** The number of requests that pass a limit, and the effect on another share of the process. */
async function limit({ rounds, runMs }: Options): Promise<void> {
  const dir = makeTemporaryDir()
  const limited = makeBenchShare(SHARE_PATHS.memory)
  const other = makeBenchShare(`${SHARE_PATHS.memory}-neighbour`)
  const [socket, otherSocket] = [join(dir.path, 'socket'), join(dir.path, 'other')] as const
  const shares = [
    ['--share', `path=${limited.path},socket=${socket},limit-iops=${LIMIT}`],
    ['--share', `path=${other.path},socket=${otherSocket}`],
  ]
  const device = await DeviceProcess.startOurs([...shares.flat(), '--keep-alive'], [socket, otherSocket])
  const held = await LoadGenerator.start(socket, limited)
  const free = await LoadGenerator.start(otherSocket, other)
  process.stdout.write(`\n--limit-iops ${LIMIT}, requests in ${LIMIT_MS / 1000} s\n`)
  for (const depth of [1, 4, 32]) {
    const { ops, seconds } = await showProgress(`limit, depth ${depth}`, () =>
      held.run({ workload: 'getattr', depth }, LIMIT_MS, 1000),
    )
    const rate = ops / seconds
    const off = (100 * (rate - LIMIT)) / LIMIT
    process.stdout.write(
      `depth ${depth}: ${ops} in ${seconds.toFixed(2)} s, ${rate.toFixed(1)}/s, ${off.toFixed(2)} % off\n`,
    )
  }
  const job: Job = { workload: 'getattr', depth: 1 }
  const alone: number[] = []
  const beside: number[] = []
  await showProgress('another share', async () => {
    for (let round = 0; round < rounds; round++) {
      alone.push((await free.run(job, runMs, WARM_UP_MS)).p50Us)
      const flood = held.run({ workload: 'getattr', depth: 32 }, runMs + 3 * WARM_UP_MS, 0)
      beside.push((await free.run(job, runMs, WARM_UP_MS)).p50Us)
      await flood
    }
  })
  process.stdout.write(
    `p50 of another share: ${median(alone).toFixed(1)} us alone, ${median(beside).toFixed(1)} us beside the limited one\n`,
  )
  for (const load of [held, free]) await load.stop()
  await device.stop()
  dir.remove()
}

const command = new Command('bench-operate')
  .description('Measures what metrics and limits cost, and how exactly a limit holds.')
  .option('--rounds <count>', 'how often each measurement runs', parseCount, 9)
  .option('--run-ms <ms>', 'how long each run takes', parseCount, 300)
  .exitOverride()

await runAsProgram(
  command,
  async (options: Options) => {
    await costs(options)
    await limit(options)
  },
  describeFailure,
)
