import type { Test } from 'tap'
import type { QueueThreadsReport } from '../../../src/share/queue-threads.js'
import type { ControlClient } from './control-client.js'
import { type DeviceOptions, sleep } from './device.js'
import { LiveDevice } from './live-device.js'

const TIMEOUT_MS = 20_000
const POLL_MS = 5

/** A device whose queues are served by several threads. */
export class ThreadedDevice {
  private constructor(
    readonly live: LiveDevice,
    private control: ControlClient,
  ) {}

  static async start(
    t: Test,
    threads: number,
    args: readonly string[] = [],
    options: DeviceOptions = {},
  ): Promise<ThreadedDevice> {
    const live = await LiveDevice.start(t, ['--queue-threads', `${threads}`, ...args], options)
    return new ThreadedDevice(live, await live.control())
  }

  get device() {
    return this.live.device
  }

  ask<T>(command: string, argument?: unknown, share?: string): Promise<T> {
    return this.control.ask<T>(command, argument, share)
  }

  async threads(): Promise<QueueThreadsReport> {
    const { queueThreads } = await this.ask<{ queueThreads: QueueThreadsReport }>('state')
    return queueThreads
  }

  /** Waits until so many threads serve queues. */
  async inUse(count: number): Promise<void> {
    const endMs = performance.now() + TIMEOUT_MS
    for (;;) {
      const threads = await this.threads()
      if (threads.inUse === count) return
      if (performance.now() > endMs) throw new Error(`not ${count} threads: ${JSON.stringify(threads)}`)
      await sleep(POLL_MS)
    }
  }

  /** Has the process replaced by another one. */
  async replace(): Promise<void> {
    await this.live.replace()
    this.control = await this.live.control()
  }
}
