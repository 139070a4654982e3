import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type DeviceName, DeviceProcess } from '../../device/device-process.js'
import { runCommand } from '../../host/command.js'
import { describeExit } from '../../host/leashed-process.js'
import { processTree } from '../processes.js'
import type { BenchShare } from './bench-share.js'
import { CommandFailure } from './command-failure.js'
import { type Job, LoadGenerator, type RunResult } from './load-generator.js'

/** Where the two processes run: on a processor each, both on one, or wherever the kernel puts them. */
export const PLACEMENTS = ['apart', 'same', 'free'] as const
export type Placement = (typeof PLACEMENTS)[number]

export interface ContenderOptions {
  readonly device: DeviceName
  readonly args: readonly string[]
  readonly share: BenchShare
  readonly placement: Placement
  readonly queues?: number
  readonly busy?: boolean
  /** Options for the Node that runs ours. */
  readonly nodeArgs?: string[]
}

/** Generator and device get the processor before whatever else runs here: what is measured is them. */
const FIRST_NICE = '-20'

/** Within its group of processes by the usual value, and among groups (sched(7), autogroup) by that of its own. */
export function putFirst(pid: number): void {
  const group = `/proc/${pid}/autogroup`
  if (existsSync(group)) writeFileSync(group, FIRST_NICE)
}
/** Options without which a device would not do the same as the others. */
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
  // It cannot run without one.
  'virtiofsd-c': [],
}

/** What lets a guest's O_DIRECT reach the host. */
export const DIRECT_ARGS: Readonly<Record<DeviceName, readonly string[]>> = {
  'virtiofsd-ts': ['--allow-direct-io'],
  'virtiofsd-1.14': ['--allow-direct-io'],
  'virtiofsd-1.13': ['--allow-direct-io'],
  'virtiofsd-c': ['-o', 'allow_direct_io'],
}

/** Arguments for a fair comparison, confined or not. */
export function fairArgs(device: DeviceName, sandbox: boolean): string[] {
  return [...EQUAL_ARGS[device], ...(sandbox ? [] : UNCONFINED[device])]
}

/** A device that is measured, and the generator that is its guest. Idle unless `run`. */
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
    const load = await LoadGenerator.start(device.socketPath, share, {
      queues: queues ?? 1,
      busy: busy ?? false,
      under,
    })
    if (first) for (const { pid } of [device, load]) putFirst(pid)
    const contender = new Contender(name, device, load)
    await contender.place(placement)
    return contender
  }

  get pids(): number[] {
    return processTree(this.device.pid)
  }

  /** Descriptors that the device may have. */
  get fileLimit(): number {
    return Number(
      /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${this.device.pid}/limits`, 'utf8'))?.[1],
    )
  }

  /** Rejects when the device ends: the generator would wait for it. */
  run(job: Job, runMs: number, warmUpMs: number): Promise<RunResult> {
    const gone = this.device.exited.then((exit) => {
      throw new CommandFailure(`${job.workload}: ${describeExit(this.device, exit)}`)
    })
    return Promise.race([this.load.run(job, runMs, warmUpMs), gone])
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
