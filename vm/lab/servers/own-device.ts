import { constants, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTraceFile, type TimedRequest } from '../../../src/inspect/trace-reader.js'
import { ControlClient } from '../../device/control-client.js'
import { DeviceProcess } from '../../device/device-process.js'
import type { Guest } from '../../guest/guest.js'
import type { Share } from '../../guest/qemu.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import { type OptionSet, RING_SIZE, type ShareName } from '../option-sets.js'
import type { LabServer, OpenMode, ShareState } from './lab-server.js'

/** Size of a trace file. With the previous file, twice as much of a case's end is kept. */
const TRACE_MIB = 8

const { O_DIRECT, O_RDONLY, O_RDWR } = constants

/** The guest's flags by which the rules of the share `modes` choose. */
const OPEN_FLAGS: Readonly<Partial<Record<OpenMode, number>>> = {
  cached: O_RDONLY,
  direct: O_RDWR | O_DIRECT,
  parallel: O_RDWR,
}

/** Our device: one process with a share per set of options. It counts, traces and takes orders. */
export class OwnDevice implements LabServer {
  readonly isVirtio = true

  private constructor(
    private readonly dir: { path: string; remove: () => void },
    private readonly program: DeviceProcess,
    private readonly control: ControlClient,
    readonly sets: readonly OptionSet[],
  ) {}

  static async start(sets: readonly OptionSet[]): Promise<OwnDevice> {
    const dir = makeTemporaryDir()
    const config = join(dir.path, 'shares.toml')
    for (const { name } of sets) mkdirSync(join(dir.path, 'shares', name), { recursive: true })
    writeFileSync(config, sets.map((set) => shareTable(dir.path, set)).join('\n'))
    const controlPath = join(dir.path, 'control')
    const program = await DeviceProcess.startOurs(
      ['--config', config, '--control-socket', controlPath, '--log-level', 'warn', '--unsafe-faults'],
      [controlPath, ...sets.map(({ name }) => socketPath(dir.path, name))],
    )
    return new OwnDevice(dir, program, await ControlClient.connect(controlPath), sets)
  }

  get commandLines(): readonly (readonly string[])[] {
    return [this.program.commandLine]
  }

  /** The shares for QEMU. */
  get shares(): Share[] {
    return this.sets.map(({ name, requestQueues = 1 }) => {
      return { tag: name, socketPath: socketPath(this.dir.path, name), requestQueues, queueSize: RING_SIZE }
    })
  }

  /** The host directory of a share. */
  directoryOf(share: ShareName): string {
    return join(this.dir.path, 'shares', share)
  }

  async mount(guest: Guest, { name }: OptionSet): Promise<ShareState> {
    await guest.mount(name, `/${name}`)
    // mount may return before INIT is answered. The first request waits for the answer.
    await guest.output(`stat /${name}`)
    return this.ask<ShareState>(name, 'state')
  }

  async openFlags(_share: ShareName, mode: OpenMode): Promise<number | undefined> {
    return OPEN_FLAGS[mode]
  }

  ask<T>(share: ShareName, command: string, argument?: unknown): Promise<T> {
    return this.control.ask<T>(command, argument, share)
  }

  /** Begins a new trace of a share. */
  async startTrace(share: ShareName): Promise<void> {
    // The device makes the new file at the first request. Until then the old one would remain.
    rmSync(tracePath(this.dir.path, share), { force: true })
    await this.ask(share, 'trace', true)
  }

  async endTrace(share: ShareName): Promise<TimedRequest[]> {
    try {
      await this.ask(share, 'trace', false)
      // The device has sent the last piece of the trace before it answers this.
      await this.ask(share, 'state')
    } catch {
      // A device that has ended has written its whole trace.
    }
    return this.readTrace(share)
  }

  private readTrace(share: ShareName): TimedRequest[] {
    const path = tracePath(this.dir.path, share)
    // A trace without requests has no file.
    return existsSync(path) ? [...readTraceFile(path)] : []
  }

  /** Ends the process and deletes its traces. Until then they can show why the process or the guest has ended. */
  async stop(): Promise<void> {
    this.control.close()
    await this.program.stop()
    this.dir.remove()
  }
}

function socketPath(dir: string, share: ShareName): string {
  return join(dir, `${share}.sock`)
}

function tracePath(dir: string, share: ShareName): string {
  return join(dir, `${share}.trace`)
}

/** A [[share]] of a configuration file. JSON strings, numbers and booleans are also valid TOML. */
function shareTable(dir: string, { name, options, rules = [] }: OptionSet): string {
  const share = {
    tag: name,
    path: join(dir, 'shares', name),
    socket: socketPath(dir, name),
    trace: tracePath(dir, name),
    'trace-size': TRACE_MIB,
    inspect: true,
    ...options,
  }
  const tables = rules.map(({ options, ...conditions }) => {
    return `[[share.rule]]\n${keysOf({ ...conditions, ...options })}`
  })
  return [`[[share]]\n${keysOf(share)}`, ...tables].join('\n')
}

function keysOf(values: object): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join('')
}
