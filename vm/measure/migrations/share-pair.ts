import { chmodSync } from 'node:fs'
import { ControlledDevice, type Held } from '../../device/controlled-device.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'

/** A directory and two devices that serve it, between which a guest moves. */
export class SharePair {
  /** Which of the devices serves the guest. */
  private side: 0 | 1 = 0

  private constructor(
    readonly tag: string,
    readonly path: string,
    private readonly devices: readonly [ControlledDevice, ControlledDevice],
    /** The resources of each device without a guest. */
    private readonly idle: readonly [Held, Held],
    private readonly dir: { remove: () => void } | undefined,
  ) {}

  /** Serves a directory; without `path` a new one, which `stop` removes. */
  static async start(tag: string, args: readonly string[], path?: string): Promise<SharePair> {
    const dir = path === undefined ? makeTemporaryDir() : undefined
    const sharedDir = dir?.path ?? path ?? ''
    if (dir !== undefined) chmodSync(sharedDir, 0o755)
    const devices = [
      await ControlledDevice.start(sharedDir, args),
      await ControlledDevice.start(sharedDir, args),
    ] as const
    const idle = [await devices[0].held(), await devices[1].held()] as const
    return new SharePair(tag, sharedDir, devices, idle, dir)
  }

  /** The socket of the device that serves the guest. */
  get socketPath(): string {
    return this.devices[this.side].socketPath
  }

  /** The socket of the device to which the guest moves next. */
  get nextSocketPath(): string {
    return this.devices[this.otherSide].socketPath
  }

  /** The guest has moved. */
  turn(): void {
    this.side = this.otherSide
  }

  private get otherSide(): 0 | 1 {
    return this.side === 0 ? 1 : 0
  }

  /** Returns what the device without a guest holds beyond what it held at its start. Empty if nothing is left over. */
  async leftOver(): Promise<string[]> {
    const held = await this.devices[this.otherSide].held()
    const idle = this.idle[this.otherSide]
    const names = ['inodes', 'files', 'directories', 'descriptors'] as const
    return names
      .filter((name) => held[name] > idle[name])
      .map((name) => `${held[name]} ${name} instead of ${idle[name]}`)
  }

  /** Returns how many requests the device that serves the guest has had. */
  requestCount(): Promise<number> {
    return this.devices[this.side].requestCount()
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
