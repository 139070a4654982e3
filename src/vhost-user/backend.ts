import { performance } from 'node:perf_hooks'
import type { BackendOptions } from './backend-options.js'
import { checkDevice, type DeviceHost, type VhostUserDevice } from './device.js'
import { mustSucceed } from './errors.js'
import { EventLoop } from './event-loop.js'
import { FaultLog, type Logger, silentLogger } from './logger.js'
import { RingLoop } from './rings/ring-loop.js'
import { RingServer } from './rings/ring-server.js'
import { BackendSession } from './session/backend-session.js'
import { Connection } from './session/connection.js'
import { type HandedConnection, HandedFds, type HandedRing } from './session/handed-session.js'
import { type LentQueues, prepareFor, type QueueLender } from './session/lent-queues.js'
import { watchForLoss } from './session/memory-loss.js'
import { receiveMessages } from './session/receive-messages.js'

/**
 * Serves one device to one front-end at a time. Blocks the calling thread meanwhile, so no promise completes there.
 * AsyncBackend serves devices that need Node's event loop.
 */
export class Backend implements DeviceHost, QueueLender {
  /** Add descriptors of your own; their handlers run between batches. */
  readonly loop: EventLoop
  readonly rings: RingServer
  private readonly log: Logger
  private readonly faults: FaultLog
  private session: BackendSession | undefined
  private connection: Connection | undefined
  private stopped = false
  private isSuspended = false

  /** Throws RangeError for a device that breaks the protocol's limits. */
  constructor(
    private readonly device: VhostUserDevice,
    private readonly options: BackendOptions = {},
  ) {
    checkDevice(device)
    this.loop = options.loop ?? new EventLoop()
    this.log = options.logger ?? silentLogger
    this.faults = new FaultLog(this.log)
    this.rings = new RingServer(device, this.loop, this.log, this.faults, options.pollUs)
    device.io?.attach(this.loop, () => {})
    device.attach?.(this.loop, this)
  }

  /** Makes `serve` return soon. Call it from a handler of `loop`. */
  stop(): void {
    this.stopped = true
  }

  /** The number of requests that were taken from the rings and are not completed. */
  get inFlightCount(): number {
    return this.rings.inFlightCount
  }

  /** The number of requests on the rings that were not taken. */
  get waitingCount(): number {
    return this.rings.waitingCount
  }

  notifyConfigChange(): boolean {
    return this.session?.notifyConfigChange() === true
  }

  /**
   * Stops serving the front-end, which notices nothing but a pause, and describes what another process needs to go on. Call
   * it from a handler of `loop`. Afterwards either that process goes on and this one ends, or `resume` is called. Requests
   * that the host carries out are completed first; if they take longer than `patienceMs`, nothing changes, and StateError
   * is thrown. Undefined without a front-end.
   */
  suspend(patienceMs: number): HandedConnection | undefined {
    const { session, connection } = this
    if (session === undefined || connection === undefined) return undefined
    const handed = session.suspend(performance.now() + patienceMs)
    this.isSuspended = true
    this.loop.remove(connection.fd)
    return handed
  }

  /** Goes on with the front-end after `suspend`. Does nothing otherwise. */
  resume(): void {
    const { session, connection, isSuspended } = this
    this.isSuspended = false
    if (session === undefined || connection === undefined || !isSuspended) return
    session.resume()
    this.receive(connection, session)
  }

  get whyNotLend(): string | undefined {
    return this.session === undefined || this.isSuspended ? 'no front-end is served' : this.session.whyNotLend
  }

  get runningQueues(): readonly number[] {
    return this.session?.runningQueues ?? []
  }

  lend(isLent: (queue: number) => boolean, patienceMs: number): LentQueues | undefined {
    return this.session?.lend(isLent, performance.now() + patienceMs)
  }

  takeBack(rings: readonly HandedRing[]): void {
    this.session?.takeBack(rings)
  }

  disconnect(): void {
    if (this.connection !== undefined) this.connection.closed = true
  }

  /**
   * Goes on where another process has suspended: serves as `serve` does. Takes ownership of the descriptors. `begin` is
   * called when everything is taken over, and the rings start when it returns. Throws StateError, ProtocolError or
   * RangeError before `begin` for what cannot be taken over. The other process still has everything then: end this one,
   * without a reset of the device, which could give up locks that both share. After `begin` it throws as `serve` does.
   */
  goOn({ session: handed, fds }: HandedConnection, begin: () => void): void {
    const taken = new HandedFds(fds)
    const connection = new Connection(taken.take())
    const session = this.open(connection)
    session.adopt(handed, taken)
    begin()
    session.resume()
    this.follow(connection, session)
  }

  /** Serves a connected socket until the front-end leaves or `stop` is called. Takes ownership of `fd`. */
  serve(fd: number): void {
    const connection = new Connection(fd)
    this.follow(connection, this.open(connection))
  }

  private open(connection: Connection): BackendSession {
    const { device, rings, faults, loop } = this
    return new BackendSession(connection, device, rings, faults, { loop }, this.options.leftOutMarks)
  }

  private follow(connection: Connection, session: BackendSession): void {
    this.connection = connection
    this.session = session
    this.stopped = false
    let unwatch = () => {}
    try {
      this.receive(connection, session)
      unwatch = watchForLoss(this.loop, connection, session, this.log)
      this.run(connection, session)
    } finally {
      unwatch()
      this.end(connection, session)
    }
  }

  private end(connection: Connection, session: BackendSession): void {
    this.loop.remove(connection.fd)
    try {
      this.options.queueKeeper?.takeBack({ memory: true, session: true })
    } finally {
      // This also runs if another thread has failed.
      this.session = undefined
      this.connection = undefined
      session.close()
      connection.close()
    }
  }

  private receive(connection: Connection, session: BackendSession): void {
    const { queueKeeper } = this.options
    mustSucceed(
      'epoll_ctl',
      this.loop.addReadable(connection.fd, () =>
        receiveMessages(connection, this.log, (message) => {
          if (queueKeeper !== undefined) prepareFor(queueKeeper, message.request)
          session.handle(message)
          return true
        }),
      ),
    )
  }

  private run(connection: Connection, session: BackendSession): void {
    const { rings, loop, options } = this
    const ringLoop = new RingLoop(rings, loop, () => session.rings.memory.id, options.queueKeeper)
    ringLoop.run(() => !connection.closed && !this.stopped)
  }
}
