import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTraceFile, type TimedRequest } from '../../src/inspect/trace-reader.js'
import { ControlClient } from '../device/control-client.js'
import { DeviceProcess } from '../device/device-process.js'
import type { Share } from '../guest/qemu.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'
import type { OptionSet, ShareName } from './option-sets.js'

/** Size of a trace file. With the previous file, twice as much of a case's end is kept. */
const TRACE_MIB = 8

/** The device's report on a share's session. */
export interface ShareState {
  /** "7.MINOR". */
  guest: string
  /** Names of the INIT flags agreed on. */
  flags: string[]
}

/** One device process with a share per set of options. It counts, traces and takes orders. */
export class LabDevice {
  private constructor(
    private readonly dir: { path: string; remove: () => void },
    private readonly program: DeviceProcess,
    private readonly control: ControlClient,
    readonly sets: readonly OptionSet[],
  ) {}

  static async start(sets: readonly OptionSet[]): Promise<LabDevice> {
    const dir = makeTemporaryDir()
    const config = join(dir.path, 'shares.toml')
    for (const { name } of sets) mkdirSync(join(dir.path, 'shares', name), { recursive: true })
    writeFileSync(config, sets.map((set) => shareTable(dir.path, set)).join('\n'))
    const controlPath = join(dir.path, 'control')
    const program = await DeviceProcess.startOurs(
      ['--config', config, '--control-socket', controlPath, '--log-level', 'warn'],
      [controlPath, ...sets.map(({ name }) => socketPath(dir.path, name))],
    )
    return new LabDevice(dir, program, await ControlClient.connect(controlPath), sets)
  }

  /** The shares for QEMU. */
  get shares(): Share[] {
    return this.sets.map(({ name }) => ({ tag: name, socketPath: socketPath(this.dir.path, name) }))
  }

  /** The host directory of a share. */
  directoryOf(share: ShareName): string {
    return join(this.dir.path, 'shares', share)
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

  /** Ends the trace. Its file is then complete. */
  async endTrace(share: ShareName): Promise<void> {
    await this.ask(share, 'trace', false)
    // The device has sent the last piece of the trace before it answers this.
    await this.ask(share, 'state')
  }

  /** The requests of the last trace, in the order of their replies. */
  readTrace(share: ShareName): TimedRequest[] {
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
function shareTable(dir: string, { name, options, readOnlyRule }: OptionSet): string {
  const share = {
    tag: name,
    path: join(dir, 'shares', name),
    socket: socketPath(dir, name),
    trace: tracePath(dir, name),
    'trace-size': TRACE_MIB,
    inspect: true,
    ...options,
  }
  const table = `[[share]]\n${keysOf(share)}`
  if (readOnlyRule === undefined) return table
  const rule = { match: readOnlyRule.match, 'read-only': true, ...readOnlyRule.options }
  return `${table}\n[[share.rule]]\n${keysOf(rule)}`
}

function keysOf(values: Readonly<Record<string, string | number | boolean>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join('')
}
