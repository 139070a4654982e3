/**
 * `make bench-live-shares`: the cost for the guest of one share when other shares of its process come and go, and what
 * is left of them.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Command } from 'commander'
import { DeviceProcess } from './device/device-process.js'
import { servingPidOf } from './device/serving-pid.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { textOf } from './host/text-of.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { LoadGenerator, type RunResult } from './measure/bench-device/load-generator.js'

const ROUND_MS = 5000
const WARM_UP_MS = 1500
/** The shares that come before the first count of what is held: V8 grows its tables with them. */
const WARM_UP = 50

interface Options {
  count: number
  threads?: number
}

/** A client of the socket for changes. */
class Changes {
  private readonly socket
  private readonly lines

  constructor(path: string) {
    this.socket = connect(path)
    this.lines = createInterface({ input: this.socket })[Symbol.asyncIterator]()
  }

  async ask(command: string, argument: string): Promise<void> {
    this.socket.write(`${JSON.stringify({ command, argument })}\n`)
    const { value = '{"ok":false}' } = await this.lines.next()
    const answer = JSON.parse(value) as { ok: boolean; error?: string }
    if (!answer.ok) throw new Error(answer.error ?? 'the connection was closed')
  }

  close(): void {
    this.socket.destroy()
  }
}

/** The descriptors, threads and memory of the process that serves. */
function heldBy(launcherPid: number): { fds: number; threads: number; privateKib: number } {
  const pid = servingPidOf(launcherPid)
  const memory = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8').matchAll(/^Private_Dirty: +(\d+)/gm)
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    privateKib: [...memory].reduce((sum, [, kib]) => sum + Number(kib), 0),
  }
}

/** Returns the thread of a process that runs the most while `work` is under way. */
async function busiestThread(pid: number, work: () => Promise<unknown>): Promise<number> {
  const ranNs = () =>
    new Map(
      readdirSync(`/proc/${pid}/task`).map((tid) => [
        Number(tid),
        Number(textOf(`/proc/${pid}/task/${tid}/schedstat`).split(' ')[0]),
      ]),
    )
  const before = ranNs()
  await work()
  const grown = [...ranNs()].map(([tid, ns]) => [tid, ns - (before.get(tid) ?? 0)] as const)
  return grown.reduce((most, thread) => (thread[1] > most[1] ? thread : most))[0]
}

async function run({ count, threads }: Options): Promise<void> {
  const dir = makeTemporaryDir()
  const share = makeBenchShare(SHARE_PATHS.memory)
  const [socket, control] = [join(dir.path, 'socket'), join(dir.path, 'control')] as const
  mkdirSync(join(dir.path, 'other'))
  const words = `tag=other,path=${join(dir.path, 'other')},socket=${join(dir.path, 'other.sock')}`
  const second = join(dir.path, 'second')
  mkdirSync(second)
  // One more share than threads from the start: those to come live on the thread of the share that is measured.
  const shared =
    threads === undefined
      ? []
      : [
          '--share-threads',
          `${threads}`,
          ...Array.from({ length: threads }, (_, n) => [
            '--share',
            `path=${second},socket=${second}-${n}.sock,tag=second-${n}`,
          ]).flat(),
        ]
  const options = [...shared, '--keep-alive', '--sandbox', 'namespace', '--control-socket', control]
  const device = await DeviceProcess.startOurs(
    ['--shared-dir', share.path, '--socket-path', socket, ...options],
    [socket],
  )
  const victim = await LoadGenerator.start(socket, share)
  const changes = new Changes(`${control}.live`)
  const comeAndGo = async (times: number) => {
    for (let n = 0; n < times; n++) {
      await changes.ask('share-add', words)
      await changes.ask('share-remove', 'other')
    }
  }
  const getattr = (runMs: number) => victim.run({ workload: 'getattr', depth: 1 }, runMs, 0)
  // V8 compiles at first, on a thread that may run for longer than that of the share.
  await getattr(WARM_UP_MS)
  victim.watchThread(await busiestThread(servingPidOf(device.pid), () => getattr(WARM_UP_MS)))
  await comeAndGo(WARM_UP)
  const pid = device.pid
  const before = heldBy(pid)
  let done = false
  const coming = comeAndGo(count).then(() => {
    done = true
  })
  const beside: RunResult[] = []
  while (!done) beside.push(await getattr(ROUND_MS))
  await coming
  const after = heldBy(pid)
  const alone: RunResult[] = []
  for (const _ of beside) alone.push(await getattr(ROUND_MS))
  const worst = (values: readonly number[]) =>
    values
      .map((us) => (us / 1000).toFixed(1))
      .sort((a, b) => Number(a) - Number(b))
      .join(' ')
  process.stdout.write(`${count} shares came and went; before and after, the process had\n`)
  for (const name of ['fds', 'threads', 'privateKib'] as const)
    process.stdout.write(`  ${name}: ${before[name]} -> ${after[name]}\n`)
  process.stdout.write(`longest GETATTR of another share in each ${ROUND_MS} ms, in ms\n`)
  const held = ({ maxHeldUs = Number.NaN }: RunResult) => maxHeldUs
  for (const [when, runs] of [
    ['while they came and went', beside],
    ['alone', alone],
  ] as const) {
    process.stdout.write(`  ${when}: ${worst(runs.map(({ maxUs }) => maxUs))}\n`)
    process.stdout.write(`    less the waits for a processor: ${worst(runs.map(held))}\n`)
  }
  changes.close()
  await victim.stop()
  await device.stop()
  dir.remove()
}

const command = new Command('bench-live-shares')
  .description('Adds and removes shares beside a share under load.')
  .option('--count <n>', 'how many shares come and go', parseCount, 1000)
  .option('--threads <n>', 'have the shares live together on so many threads', parseCount)
  .exitOverride()

await runAsProgram(command, run, describeFailure)
