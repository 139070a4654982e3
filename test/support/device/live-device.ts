import { chownSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { tempDir } from '../host/temp-dir.js'
import { ControlClient } from './control-client.js'
import { Device, type DeviceOptions, sleep } from './device.js'

/** Only a hang takes this long. */
const TIMEOUT_MS = 20_000
const POLL_MS = 5

/** A device that can be changed while it runs: a control socket, and a place for further shares. */
export class LiveDevice {
  private constructor(
    private readonly t: Test,
    readonly device: Device,
    /** Holds the control socket and the sockets of added shares. */
    readonly place: string,
  ) {}

  static async start(
    t: Test,
    args: readonly string[] = [],
    options: DeviceOptions = {},
  ): Promise<LiveDevice> {
    const place = tempDir(t)
    if (options.owner !== undefined) chownSync(place, options.owner, options.owner)
    const control = ['--keep-alive', '--control-socket', join(place, 'control')]
    return new LiveDevice(t, await Device.start(t, [...control, ...args], options), place)
  }

  /** A client of the control socket. */
  control(): Promise<ControlClient> {
    return ControlClient.connect(this.t, join(this.place, 'control'))
  }

  /** A client of the socket for changes. */
  changes(): Promise<ControlClient> {
    return ControlClient.connect(this.t, join(this.place, 'control.live'))
  }

  /** Has it replaced by another process. Rejects if it goes on. */
  async replace(argument?: unknown): Promise<unknown> {
    const changes = await this.changes()
    try {
      const result = await changes.ask('replace', argument)
      await this.device.findSuccessor()
      return result
    } finally {
      changes.socket.destroy()
    }
  }

  /** Makes a directory for a further share. Returns it with the path of its socket, and the words of `share-add`. */
  share(tag: string, owner?: number): { directory: string; socketPath: string; words: string } {
    const directory = join(tempDir(this.t), tag)
    mkdirSync(directory)
    if (owner !== undefined) chownSync(directory, owner, owner)
    const socketPath = join(this.place, tag)
    return { directory, socketPath, words: `tag=${tag},path=${directory},socket=${socketPath}` }
  }

  /** The files beside the control socket's. */
  sockets(): readonly string[] {
    return readdirSync(this.place).filter((name) => !name.startsWith('control'))
  }

  threadCount(): number {
    return readdirSync(`/proc/${this.device.pid}/task`).length
  }

  /** Private memory, in KiB. */
  memoryKib(): number {
    const text = readFileSync(`/proc/${this.device.pid}/smaps_rollup`, 'utf8')
    return [...text.matchAll(/^Private_Dirty: +(\d+)/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0)
  }
}

/** Waits until `holds` is true. Throws with `what` if it never is. */
export async function until(holds: () => boolean, what: () => string): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(what())
    await sleep(POLL_MS)
  }
}
