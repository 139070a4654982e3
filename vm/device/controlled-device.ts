import { join } from 'node:path'
import { descriptorsOf } from '../host/descriptors-of.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'
import { ControlClient } from './control-client.js'
import { DeviceProcess } from './device-process.js'
import { servingPidOf } from './serving-pid.js'

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

  /** Returns how many requests the device has had since its start. */
  async requestCount(): Promise<number> {
    interface Counts {
      readonly requests: Readonly<Record<string, number>>
    }
    const { requests } = await this.control.ask<Counts>('counts', undefined, ONLY_SHARE)
    return Object.values(requests).reduce((sum, count) => sum + count, 0)
  }

  async stop(): Promise<void> {
    this.control.close()
    await this.device.stop()
    this.dir.remove()
  }

  /** Returns how many descriptors the device has whose files are called so: a path's beginning, or `pipe:`. */
  descriptors(prefix: string): number {
    return descriptorsOf(servingPidOf(this.device.pid)).filter((name) => name.startsWith(prefix)).length
  }
}
