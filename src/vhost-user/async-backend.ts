import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AsyncBackendOptions } from './backend-options.js'
import { checkDevice, type DeviceHost, type VhostUserDevice } from './device.js'
import { EventLoop } from './event-loop.js'
import { type Logger, silentLogger } from './logger.js'
import { ServedFrontEnd } from './served-front-end.js'
import { Connection } from './session/connection.js'
import { type HandedConnection, HandedFds, type HandedRing } from './session/handed-session.js'
import type { LentQueues, QueueLender } from './session/lent-queues.js'

/** A back-end that settles looks this often at the calls that the host carries out. */
const SETTLE_LOOK_MS = 2

/**
 * Serves one device to one front-end at a time from Node's own event loop, on the main thread or in a worker.
 * Promises, timers and sockets run beside the rings.
 */
export class AsyncBackend implements DeviceHost, QueueLender {
  /** Add descriptors of your own; their handlers run between batches. */
  readonly loop: EventLoop
  private readonly log: Logger
  private current: ServedFrontEnd | undefined

  /** Throws RangeError for a device that breaks the protocol's limits. */
  constructor(
    private readonly device: VhostUserDevice,
    private readonly options: AsyncBackendOptions = {},
  ) {
    checkDevice(device)
    this.loop = options.loop ?? new EventLoop()
    this.log = options.logger ?? silentLogger
    device.io?.attach(this.loop, () => this.ioBegun())
    device.attach?.(this.loop, this)
  }

  notifyConfigChange(): boolean {
    return this.current?.session.notifyConfigChange() === true
  }

  /** The number of requests that were taken from the rings and are not completed. */
  get inFlightCount(): number {
    return this.current?.rings.inFlightCount ?? 0
  }

  /** The number of requests on the rings that were not taken. */
  get waitingCount(): number {
    return this.current?.rings.waitingCount ?? 0
  }

  /** Ends `serve` soon; cancels requests in flight. */
  stop(): void {
    this.current?.end()
  }

  /**
   * Serves a connected socket until the front-end leaves or `stop` is called. Takes ownership of `fd`. Rejects with
   * the error that the device threw, or that its promise rejected with.
   */
  async serve(fd: number): Promise<void> {
    if (this.current !== undefined) throw new Error('this back-end serves a front-end already')
    const { device, loop, log, options } = this
    const service = new ServedFrontEnd(new Connection(fd), device, loop, log, options)
    service.begin()
    await this.follow(service)
  }

  /**
   * Stops serving the front-end, as Backend.suspend does. Resolves to what another process needs to go on, or undefined
   * without a front-end. Other devices on the thread go on meanwhile. Rejects with StateError, and then nothing changes.
   */
  async suspend(patienceMs: number): Promise<HandedConnection | undefined> {
    return this.current?.suspend(performance.now() + patienceMs)
  }

  /** Goes on with the front-end after `suspend`. Does nothing otherwise. */
  resume(): void {
    this.current?.resume()
  }

  get whyNotLend(): string | undefined {
    return this.current === undefined ? 'no front-end is served' : this.current.whyNotLend
  }

  get runningQueues(): readonly number[] {
    return this.current?.session.runningQueues ?? []
  }

  lend(isLent: (queue: number) => boolean, patienceMs: number): LentQueues | undefined {
    return this.current?.session.lend(isLent, performance.now() + patienceMs)
  }

  takeBack(rings: readonly HandedRing[]): void {
    this.current?.session.takeBack(rings)
  }

  disconnect(): void {
    this.current?.disconnect()
  }

  /** Goes on where another process has suspended, as Backend.goOn does. The rings start when `begin` has resolved. */
  async goOn({ session: handed, fds }: HandedConnection, begin: () => Promise<void>): Promise<void> {
    const { device, loop, log, options } = this
    const taken = new HandedFds(fds)
    const service = new ServedFrontEnd(new Connection(taken.take()), device, loop, log, options)
    service.session.adopt(handed, taken)
    await begin()
    service.begin()
    service.session.resume()
    await this.follow(service)
  }

  /**
   * Resolves when the host carries out no request any more. Call it when every new request is answered at once; those under
   * way end soon.
   */
  async settle(): Promise<void> {
    while (this.device.hurry?.() === false) {
      this.current?.turnSoon()
      this.device.progress?.(performance.now())
      await sleep(SETTLE_LOOK_MS)
    }
  }

  private async follow(service: ServedFrontEnd): Promise<void> {
    this.current = service
    try {
      await service.ended
    } finally {
      this.current = undefined
    }
  }

  /** A promise of the device may call this outside of any turn. */
  private ioBegun(): void {
    if (this.current !== undefined) this.current.turnSoon()
    // Without a front-end, blocking here disturbs nobody.
    else setImmediate(() => this.device.io?.drain())
  }

  /** Closes the loop, unless it came with the options. */
  close(): void {
    if (this.options.loop === undefined) this.loop.close()
  }
}
