import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type DeviceName, DeviceProcess } from '../../device/device-process.js'
import { runCommand } from '../../host/command.js'
import { describeExit } from '../../host/leashed-process.js'
import { processTree } from '../processes.js'
import type { BenchShare } from './bench-share.js'
import { CommandFailure } from './command-failure.js'
import { type Job, LoadGenerator, type RunResult } from './load-generator.js'

/** The placement of the two processes: each on its own processor, both on one, or as the kernel chooses. */
export const PLACEMENTS = ['apart', 'same', 'free'] as const
export type Placement = (typeof PLACEMENTS)[number]

export interface ContenderOptions {
  readonly device: DeviceName
  readonly args: readonly string[]
  readonly share: BenchShare
  readonly placement: Placement
  readonly queues?: number
  readonly busy?: boolean
  /** A thread of the guest for each queue. */
  readonly threads?: boolean
  /** Options for the Node that runs ours. */
  readonly nodeArgs?: string[]
}

/** Generator and device get the processor before everything else on this machine, because they are measured. */
const FIRST_NICE = '-20'

/**
 * Raises a process's priority: within its group by the usual value, and among groups (sched(7), autogroup) by the
 * group's.
 */
export function putFirst(pid: number): void {
  const group = `/proc/${pid}/autogroup`
  if (existsSync(group)) writeFileSync(group, FIRST_NICE)
}
/** Options that make the devices do the same work. */
const EQUAL_ARGS: Readonly<Record<DeviceName, readonly string[]>> = {
  'virtiofsd-ts': ['--cache', 'never'],
  'virtiofsd-1.14': ['--cache', 'never'],
  'virtiofsd-1.13': ['--cache', 'never'],
  'virtiofsd-c': ['-o', 'cache=none'],
}
const UNCONFINED: Readonly<Record<DeviceName, readonly string[]>> = {
  'virtiofsd-ts': ['--sandbox', 'none'],
  'virtiofsd-1.14': ['--sandbox', 'none'],
  'virtiofsd-1.13': ['--sandbox', 'none'],
  // This device cannot run without a sandbox.
  'virtiofsd-c': [],
}

/** Options that pass a guest's O_DIRECT on to the host. */
export const DIRECT_ARGS: Readonly<Record<DeviceName, readonly string[]>> = {
  'virtiofsd-ts': ['--allow-direct-io'],
  'virtiofsd-1.14': ['--allow-direct-io'],
  'virtiofsd-1.13': ['--allow-direct-io'],
  'virtiofsd-c': ['-o', 'allow_direct_io'],
}

/** Returns the arguments for a fair comparison, confined or not. */
export function fairArgs(device: DeviceName, sandbox: boolean): string[] {
  return [...EQUAL_ARGS[device], ...(sandbox ? [] : UNCONFINED[device])]
}

/** A measured device, and the generator that acts as its guest. Idle except during `run`. */
export class Contender {
  private constructor(
    readonly name: DeviceName,
    readonly device: DeviceProcess,
    readonly load: LoadGenerator,
  ) {}

  static async start({
    device: name,
    args,
    share,
    placement,
    queues,
    busy,
    threads,
    nodeArgs,
  }: ContenderOptions): Promise<Contender> {
    const first = process.getuid?.() === 0
    const under = first ? ['nice', '-n', FIRST_NICE] : []
    const device = await DeviceProcess.start({
      device: name,
      sharedDir: share.path,
      args: [...args],
      under,
      nodeArgs: nodeArgs ?? [],
    })
    const load = await unlessEnded(
      device,
      `start of ${name}`,
      LoadGenerator.start(device.socketPath, share, {
        queues: queues ?? 1,
        busy: busy ?? false,
        threads: threads ?? false,
        under,
      }),
    )
    if (first) for (const { pid } of [device, load]) putFirst(pid)
    const contender = new Contender(name, device, load)
    await contender.place(placement)
    return contender
  }

  get pids(): number[] {
    return processTree(this.device.pid)
  }

  /** The number of descriptors that the device may have. */
  get fileLimit(): number {
    return Number(
      /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${this.device.pid}/limits`, 'utf8'))?.[1],
    )
  }

  /** Runs a job. Rejects if the device ends. */
  run(job: Job, runMs: number, warmUpMs: number): Promise<RunResult> {
    return unlessEnded(this.device, job.workload, this.load.run(job, runMs, warmUpMs))
  }

  async stop(): Promise<void> {
    await this.load.stop()
    await this.device.stop()
  }

  private async place(placement: Placement): Promise<void> {
    const last = cpus().length - 1
    const pids = this.pids
    this.load.watch(pids)
    if (placement === 'free') return
    this.load.pin(placement === 'same' ? last : 0)
    for (const pid of pids)
      await runCommand('taskset', ['--all-tasks', '--cpu-list', '--pid', String(last), String(pid)])
  }
}

/** Rejects if the device ends first: the generator would wait for it. */
function unlessEnded<T>(device: DeviceProcess, what: string, work: Promise<T>): Promise<T> {
  const ended = device.exited.then((exit) => {
    throw new CommandFailure(`${what}: ${describeExit(device, exit)}`)
  })
  return Promise.race([work, ended])
}
