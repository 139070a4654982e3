import { chownSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Test } from 'tap'
import type { FaultReport } from '../../../src/inspect/fault-rule.js'
import type { InodeReport } from '../../../src/inspect/inode-activity.js'
import { tempDir } from '../host/temp-dir.js'
import { Device, type DeviceOptions } from './device.js'

/** An answer from the device. */
export interface Answer {
  readonly id?: unknown
  readonly ok: boolean
  readonly result?: unknown
  readonly error?: string
}

/** One row of `inodes`, for an inode with a name. */
export type InodeRow = InodeReport & { readonly path: string }

/** A client of a control socket. */
export class ControlClient {
  private readonly lines: AsyncIterator<string>
  private readonly reader: Interface

  constructor(readonly socket: Socket) {
    socket.on('error', () => {})
    this.reader = createInterface({ input: socket })
    this.lines = this.reader[Symbol.asyncIterator]()
  }

  static async connect(t: Test, path: string): Promise<ControlClient> {
    const socket = connect(path)
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    t.teardown(() => socket.destroy())
    return new ControlClient(socket)
  }

  /** Returns the next line, parsed; undefined at the end of the connection. */
  async next(): Promise<Answer | undefined> {
    try {
      const { value, done } = await this.lines.next()
      return done ? undefined : (JSON.parse(value) as Answer)
    } catch (error) {
      if (['EPIPE', 'ECONNRESET'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
      throw error
    }
  }

  /** Sends a line unchanged. Returns the answer. */
  async line(text: string): Promise<Answer | undefined> {
    this.socket.write(`${text}\n`)
    return this.next()
  }

  /** Returns the result of a command. Throws its error. */
  async ask<T>(command: string, argument?: unknown, share?: string): Promise<T> {
    const answer = await this.line(JSON.stringify({ command, argument, share }))
    if (answer?.ok !== true) throw new Error(answer?.error ?? 'the connection was closed')
    return answer.result as T
  }

  /** Returns the error of a refused command. */
  async refusal(command: string, argument?: unknown, share?: string): Promise<string> {
    const answer = await this.line(JSON.stringify({ command, argument, share }))
    if (answer === undefined || answer.ok) throw new Error(`${command} was not refused`)
    return answer.error ?? ''
  }

  inodes(query?: object): Promise<readonly InodeRow[]> {
    return this.ask('inodes', query)
  }

  faults(): Promise<readonly FaultReport[]> {
    return this.ask('fault-list')
  }
}

/** A device with a control socket, and a client of it. */
export async function startControlled(
  t: Test,
  args: readonly string[] = [],
  options: DeviceOptions = {},
): Promise<{ device: Device; control: ControlClient; controlPath: string }> {
  const place = tempDir(t)
  if (options.owner !== undefined) chownSync(place, options.owner, options.owner)
  const controlPath = join(place, 'control')
  const device = await Device.start(t, ['--keep-alive', '--control-socket', controlPath, ...args], options)
  return { device, control: await ControlClient.connect(t, controlPath), controlPath }
}
