/**
 * `make bench-neighbours`: the effect of a guest that floods its share on the latency of another share of the same
 * process.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { DeviceProcess } from './device/device-process.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { type Job, LoadGenerator } from './measure/bench-device/load-generator.js'
import { median } from './measure/statistics.js'

const WARM_UP_MS = 300

const victims: Readonly<Record<string, Job>> = {
  getattr: { workload: 'getattr', depth: 1 },
  'read 4k': { workload: 'read-random', bytes: 4096, depth: 1 },
}
const floods: Readonly<Record<string, Job>> = {
  'getattr, 32 deep': { workload: 'getattr', depth: 32 },
  'read 4k, 32 deep': { workload: 'read-random', bytes: 4096, depth: 32 },
  'write 4k, 32 deep': { workload: 'write-random', bytes: 4096, depth: 32 },
}

interface Options {
  rounds: number
  threads?: number
  runMs: number
}

/** Latencies of the victim, one value for each round. */
interface Latencies {
  readonly p50Us: number[]
  readonly p99Us: number[]
}

async function measure(
  victim: LoadGenerator,
  flooder: LoadGenerator,
  job: Job,
  flood: Job,
  { rounds, runMs }: Options,
): Promise<{ alone: Latencies; beside: Latencies }> {
  const alone: Latencies = { p50Us: [], p99Us: [] }
  const beside: Latencies = { p50Us: [], p99Us: [] }
  const run = async (latencies: Latencies) => {
    const { p50Us, p99Us } = await victim.run(job, runMs, WARM_UP_MS)
    latencies.p50Us.push(p50Us)
    latencies.p99Us.push(p99Us)
  }
  for (let round = 0; round < rounds; round++) {
    await run(alone)
    // The flood lasts longer than the measurement beside it.
    const flooding = flooder.run(flood, runMs + 3 * WARM_UP_MS, 0)
    await run(beside)
    await flooding
  }
  return { alone, beside }
}

function describe({ alone, beside }: { alone: Latencies; beside: Latencies }): string {
  const change = (of: keyof Latencies) =>
    `${of.slice(0, 3)} ${median(alone[of]).toFixed(0)} -> ${median(beside[of]).toFixed(0)}`
  const ratio = median(beside.p99Us) / median(alone.p99Us)
  return `${change('p50Us')}, ${change('p99Us')} (${ratio.toFixed(2)} times)`
}

async function run(options: Options): Promise<void> {
  const dir = makeTemporaryDir()
  const share = makeBenchShare(SHARE_PATHS.memory)
  const other = makeBenchShare(`${SHARE_PATHS.memory}-neighbour`)
  const [socket, otherSocket] = [join(dir.path, 'socket'), join(dir.path, 'other')] as const
  const shares = [
    ['--share', `path=${share.path},socket=${socket}`],
    ['--share', `path=${other.path},socket=${otherSocket}`],
  ]
  const threads = options.threads === undefined ? [] : ['--share-threads', `${options.threads}`]
  const device = await DeviceProcess.startOurs(
    [...shares.flat(), ...threads, '--keep-alive'],
    [socket, otherSocket],
  )
  const victim = await LoadGenerator.start(socket, share)
  const flooder = await LoadGenerator.start(otherSocket, other)
  process.stdout.write(
    'p50 and p99 of a guest at depth 1, alone and beside a flood by another guest, in microseconds\n',
  )
  for (const [name, job] of Object.entries(victims)) {
    for (const [floodName, flood] of Object.entries(floods)) {
      const label = `${name} beside ${floodName}`
      const result = await showProgress(label, () => measure(victim, flooder, job, flood, options))
      process.stdout.write(`${label}: ${describe(result)}\n`)
    }
  }
  await victim.stop()
  await flooder.stop()
  await device.stop()
  dir.remove()
}

const command = new Command('bench-neighbours')
  .description('Measures what a guest that floods its share does to the latency of another share.')
  .option('--rounds <count>', 'how often each measurement runs', parseCount, 5)
  .option('--run-ms <ms>', 'how long each run takes', parseCount, 1500)
  .option('--threads <n>', 'serve the shares on so many threads; 1: both live together', parseCount)
  .exitOverride()

await runAsProgram(command, run, describeFailure)
