import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { QueueThreadsReport } from '../../src/share/queue-threads.js'
import { ControlClient } from '../../vm/device/control-client.js'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { servingPidOf } from '../../vm/device/serving-pid.js'

const WAIT_MS = 20_000
const POLL_MS = 5
const TAG = 'soak'

/** The program as its users start it, sandbox and all, with a control socket. */
export class SoakDevice {
  private constructor(
    private readonly device: DeviceProcess,
    private readonly control: ControlClient,
    /** The process that serves. */
    readonly pid: number,
  ) {}

  static async start(sharedDir: string, state: string, threads = 1): Promise<SoakDevice> {
    const controlPath = join(state, 'control')
    const device = await DeviceProcess.start({
      device: 'virtiofsd-ts',
      sharedDir,
      socketPath: join(state, 'socket'),
      args: [
        '--queue-threads',
        `${threads}`,
        '--keep-alive',
        '--tag',
        TAG,
        '--control-socket',
        controlPath,
        '--log-level',
        'error',
      ],
    })
    const control = await ControlClient.connect(controlPath)
    return new SoakDevice(device, control, servingPidOf(device.pid))
  }

  get socketPath(): string {
    return this.device.socketPath
  }

  ask<T>(command: string, argument?: unknown): Promise<T> {
    return this.control.ask<T>(command, argument, TAG)
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  signalIfAlive(signal: NodeJS.Signals): void {
    if (!this.device.ended) this.device.signal(signal)
  }

  /** Waits until it has ended, by itself or by a signal that it was sent. */
  async ended(): Promise<void> {
    this.control.close()
    await this.device.exited
  }

  async stop(): Promise<void> {
    this.control.close()
    const { status } = await this.device.stop()
    if (status !== 0)
      throw new Error(`the device ended with status ${status}:\n${this.device.log.join('\n')}`)
  }

  fdCount(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** Its threads, without those of the kernel that carry requests of io_uring out. */
  threadCount(): number {
    const nameOf = (tid: string) => readFileSync(`/proc/${this.pid}/task/${tid}/comm`, 'utf8')
    const isOwn = (tid: string) => {
      try {
        return !nameOf(tid).startsWith('iou-')
      } catch {
        // It has just ended.
        return false
      }
    }
    return readdirSync(`/proc/${this.pid}/task`).filter(isOwn).length
  }

  /** Waits until so many threads serve the guest's queues. */
  async usesThreads(count: number): Promise<void> {
    const endMs = performance.now() + WAIT_MS
    for (;;) {
      const { queueThreads } = await this.ask<{ queueThreads: QueueThreadsReport | undefined }>('state')
      if ((queueThreads?.inUse ?? 1) === count) return
      if (performance.now() > endMs) throw new Error(`not ${count} threads: ${JSON.stringify(queueThreads)}`)
      await sleep(POLL_MS)
    }
  }

  /** Private memory, without what it shares with the front-end. */
  memoryKib(): number {
    return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1])
  }

  /** Requests that it was sent since it started. */
  async requests(): Promise<number> {
    const { requests } = await this.ask<{ requests: Record<string, number> }>('counts')
    return Object.values(requests).reduce((sum, count) => sum + count, 0)
  }

  /** The descriptors that it holds when nobody is connected. It notices a moment later that a front-end has left. */
  async fdCountAtRest(expected?: number): Promise<number> {
    const endMs = performance.now() + WAIT_MS
    for (;;) {
      const { connected } = await this.ask<{ connected: boolean }>('state')
      const count = this.fdCount()
      if (!connected && (expected === undefined || count === expected)) return count
      if (performance.now() > endMs) return count
      await sleep(POLL_MS)
    }
  }
}
