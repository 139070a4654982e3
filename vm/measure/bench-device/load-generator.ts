import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runCommand } from '../../host/command.js'
import { describeExit, LeashedProcess } from '../../host/leashed-process.js'
import type { Program } from '../../host/program.js'
import { cached } from '../../packages/cache.js'
import type { BenchShare } from './bench-share.js'
import { CommandFailure } from './command-failure.js'

// This path leads from dist/vm/bench-device back to the sources.
const SOURCES = fileURLToPath(new URL('../../../../vm/measure/load/', import.meta.url))
const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread']
const NAME = 'virtio-fs-load'

/** A workload to repeat, and the number of processes that do it at a time. */
export interface Job {
  readonly workload: string
  readonly depth: number
  /** Bytes of a READ or WRITE; 0 for other workloads. */
  readonly bytes?: number
  /** Another workload beside it, one operation at a time, measured apart. */
  readonly beside?: { readonly workload: string; readonly bytes?: number }
}

/** The results of one workload. */
export interface Tally {
  workload: string
  bytes: number
  ops: number
  opsPerSec: number
  mbPerSec: number
  entriesPerSec: number
  p50Us: number
  p99Us: number
  maxUs: number
  errors: number
  lastError: number
}

/** One run, as the generator prints it. */
export interface RunResult extends Tally {
  depth: number
  seconds: number
  /** Processor time of the device, and of the generator, per operation. */
  deviceCpuUs: number
  guestCpuUs: number
  /** Samples of the device's processor time, in its own code and in the kernel. One run has few; add up several. */
  deviceUserTicks: number
  deviceKernelTicks: number
  kicksPerOp: number
  callsPerOp: number
  /** Fractions of one processor that other programs, and other machines on the same host, used meanwhile. */
  othersCpu: number
  stolenCpu: number
  /** The longest operation, less the waits for a processor: see `watchThread`. */
  maxHeldUs?: number
  beside?: Tally
}

/** Plays the guest of one device, from connect to disconnect. */
export class LoadGenerator extends LeashedProcess {
  private readonly answers: ((line: string) => void)[] = []

  private constructor(program: Program, args: string[]) {
    super(NAME, program, args, 'pipe')
    this.on('line', (line) => {
      if (line.startsWith('{')) this.answers.shift()?.(line)
    })
  }

  /**
   * `queues`: the number of request queues. A busy generator polls its rings instead of sleeping. With `threads` each
   * queue has a thread, which does a job at the job's depth.
   */
  static async start(
    socketPath: string,
    share: BenchShare,
    { queues = 1, busy = false, threads = false, under = [] as string[] } = {},
  ): Promise<LoadGenerator> {
    const program = join(await compile(), NAME)
    const args = [socketPath, String(queues), share.path, String(share.dataBytes), String(share.entries)]
    const [command = program, ...rest] = [...under, program]
    const load = new LoadGenerator({ command, args: rest }, [
      ...args,
      ...(busy ? ['busy'] : threads ? ['threads'] : []),
    ])
    await load.answer()
    return load
  }

  /** Sets the processes of the device, whose processor time is measured. */
  watch(pids: readonly number[]): void {
    this.tell(`pids ${pids.join(' ')}`)
  }

  /** Sets the thread of the share. For jobs of depth 1, its waits for a processor and the generator's are measured then. */
  watchThread(tid: number): void {
    this.tell(`thread ${tid}`)
  }

  /** Runs on this processor only; -1: on any. */
  pin(cpu: number): void {
    this.tell(`cpu ${cpu}`)
  }

  /** Has the thread of each queue run on the processor of that number. */
  spread(): void {
    this.tell('spread')
  }

  /** Runs a job. Rejects if the generator ends instead: the device broke the protocol, or failed. */
  async run(job: Job, runMs: number, warmUpMs: number): Promise<RunResult> {
    const { workload, depth, bytes = 0, beside } = job
    const other = beside === undefined ? '' : ` ${beside.workload} ${beside.bytes ?? 0}`
    const answer = this.answer()
    this.tell(`run ${workload} ${depth} ${bytes} ${warmUpMs} ${runMs}${other}`)
    const result = JSON.parse(await answer) as RunResult
    if (result.errors > 0) {
      throw new CommandFailure(
        `${workload}: ${result.errors} replies were errors, the last errno ${-result.lastError}`,
      )
    }
    return result
  }

  /**
   * Returns, in microseconds, the processor time of bare system calls by purpose, and the longest pauses of the
   * machine.
   */
  async floor(): Promise<Record<string, number>> {
    const answer = this.answer()
    this.tell('floor')
    return JSON.parse(await answer)
  }

  /** Returns the next line of JSON. */
  private answer(): Promise<string> {
    const line = new Promise<string>((resolve) => this.answers.push(resolve))
    const ended = this.exited.then((exit) => {
      throw new CommandFailure(describeExit(this, exit))
    })
    return Promise.race([line, ended])
  }
}

function compile(): Promise<string> {
  const files = readdirSync(SOURCES).sort()
  const hash = createHash('sha256').update(FLAGS.join(' '))
  for (const file of files) hash.update(file).update(readFileSync(join(SOURCES, file)))
  const sources = files.filter((file) => file.endsWith('.c')).map((file) => join(SOURCES, file))
  return cached(`load-generator-${hash.digest('hex').slice(0, 16)}`, async (dir) => {
    await runCommand('cc', [...FLAGS, '-o', join(dir, NAME), ...sources])
  })
}
