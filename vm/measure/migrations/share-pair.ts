import { chmodSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { ControlClient } from '../../device/control-client.js'
import { DeviceProcess } from '../../device/device-process.js'
import { servingPidOf } from '../../device/serving-pid.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'

/** The name of the only share of a process. */
const ONLY_SHARE = '0'

/** The resources that a device holds for its guest. */
export interface Held {
  readonly inodes: number
  readonly files: number
  readonly directories: number
  /** Descriptors in the shared directory. */
  readonly descriptors: number
}

/** A device and its control socket. */
export class ControlledDevice {
  private constructor(
    private readonly device: DeviceProcess,
    private readonly control: ControlClient,
    private readonly sharedDir: string,
    private readonly dir: { remove: () => void },
  ) {}

  static async start(sharedDir: string, args: readonly string[]): Promise<ControlledDevice> {
    const dir = makeTemporaryDir()
    const controlPath = join(dir.path, 'control')
    const device = await DeviceProcess.start({
      device: 'virtiofsd-ts',
      sharedDir,
      args: [...args, '--keep-alive', '--control-socket', controlPath],
    })
    return new ControlledDevice(device, await ControlClient.connect(controlPath), sharedDir, dir)
  }

  get socketPath(): string {
    return this.device.socketPath
  }

  get log(): readonly string[] {
    return this.device.log
  }

  async held(): Promise<Held> {
    interface Figures {
      readonly use: Omit<Held, 'descriptors'>
    }
    const { use } = await this.control.ask<Figures>('figures', undefined, ONLY_SHARE)
    const { inodes, files, directories } = use
    return { inodes, files, directories, descriptors: this.descriptors(this.sharedDir) }
  }

  async stop(): Promise<void> {
    this.control.close()
    await this.device.stop()
    this.dir.remove()
  }

  /** Returns how many descriptors the device has whose files are called so: a path's beginning, or `pipe:`. */
  descriptors(prefix: string): number {
    const fds = `/proc/${servingPidOf(this.device.pid)}/fd`
    return readdirSync(fds).filter((fd) => targetOf(join(fds, fd)).startsWith(prefix)).length
  }
}

/** Returns "" for a descriptor that was closed meanwhile. */
function targetOf(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
  }
}

/** A directory and two devices that serve it, between which a guest moves. */
export class SharePair {
  /** The resources of each device without a guest. */
  private readonly idle: readonly Held[]
  /** Which of the devices serves the guest. */
  private side = 0

  private constructor(
    readonly tag: string,
    readonly path: string,
    private readonly devices: readonly [ControlledDevice, ControlledDevice],
    idle: readonly Held[],
    private readonly dir: { remove: () => void } | undefined,
  ) {
    this.idle = idle
  }

  /** Serves a directory; without `path` a new one, which `stop` removes. */
  static async start(tag: string, args: readonly string[], path?: string): Promise<SharePair> {
    const dir = path === undefined ? makeTemporaryDir() : undefined
    const sharedDir = dir?.path ?? path ?? ''
    if (dir !== undefined) chmodSync(sharedDir, 0o755)
    const devices = [
      await ControlledDevice.start(sharedDir, args),
      await ControlledDevice.start(sharedDir, args),
    ] as const
    const idle = [await devices[0].held(), await devices[1].held()]
    return new SharePair(tag, sharedDir, devices, idle, dir)
  }

  /** The socket of the device that serves the guest. */
  get socketPath(): string {
    return this.devices[this.side === 0 ? 0 : 1].socketPath
  }

  /** The socket of the device to which the guest moves next. */
  get nextSocketPath(): string {
    return this.devices[this.side === 0 ? 1 : 0].socketPath
  }

  /** The guest has moved. */
  turn(): void {
    this.side = 1 - this.side
  }

  /** Returns what the device without a guest holds beyond what it held at its start. Empty if nothing is left over. */
  async leftOver(): Promise<string[]> {
    const other = this.side === 0 ? 1 : 0
    const held = await this.devices[other].held()
    const names = ['inodes', 'files', 'directories', 'descriptors'] as const
    return names
      .filter((name) => held[name] > this.idle[other]![name])
      .map((name) => `${held[name]} ${name} instead of ${this.idle[other]![name]}`)
  }

  /** The log lines of the devices. */
  get log(): readonly string[] {
    return this.devices.flatMap((device) => device.log)
  }

  async stop(): Promise<void> {
    for (const device of this.devices) await device.stop()
    this.dir?.remove()
  }
}
