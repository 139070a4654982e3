import { checkDevice, type DeviceHost, type VhostUserDevice } from './device.js'
import { mustSucceed } from './errors.js'
import { EventLoop } from './event-loop.js'
import { FaultLog, type Logger, silentLogger } from './logger.js'
import type { LeftOutMarks } from './memory/dirty-log.js'
import { RingServer } from './rings/ring-server.js'
import { BackendSession } from './session/backend-session.js'
import { Connection } from './session/connection.js'
import { type HandedConnection, HandedFds } from './session/handed-session.js'
import { watchForLoss } from './session/memory-loss.js'
import { receiveMessages } from './session/receive-messages.js'

/** While rings are busy, messages and other descriptors are checked this often. */
const CHECK_EVERY_MS = 1

export interface BackendOptions {
  /** The longest spin on the rings before the thread sleeps, in microseconds. Default 50; 0 never spins. */
  readonly pollUs?: number
  readonly logger?: Logger
  /** Polled together with the rings. Pass your own to add descriptors or to stop the back-end. */
  readonly loop?: EventLoop
  /** For tests of the dirty log: marks to leave out. */
  readonly leftOutMarks?: LeftOutMarks
}

/**
 * Serves one device to one front-end at a time. Blocks the calling thread meanwhile, so no promise completes there.
 * AsyncBackend serves devices that need Node's event loop.
 */
export class Backend implements DeviceHost {
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
    this.session = undefined
    this.connection = undefined
    session.close()
    connection.close()
  }

  private receive(connection: Connection, session: BackendSession): void {
    mustSucceed(
      'epoll_ctl',
      this.loop.addReadable(connection.fd, () =>
        receiveMessages(connection, this.log, (message) => {
          session.handle(message)
          return true
        }),
      ),
    )
  }

  private run(connection: Connection, session: BackendSession): void {
    const { rings, device } = this
    const { io } = device
    let nowMs = performance.now()
    let checkedMs = nowMs
    while (!connection.closed && !this.stopped) {
      // Results come first: the device's own progress may need them.
      const carriedOut = io?.progress() === true
      const completed = device.progress?.(nowMs) === true || carriedOut
      const served = rings.serveBatches()
      const hasSlept = !served && !completed && this.waitForWork(session)
      const startMs = nowMs
      // One look at the clock for all that need the time: on some hosts it takes a tenth of a microsecond.
      nowMs = performance.now()
      if (hasSlept) {
        rings.slept(nowMs - startMs)
        checkedMs = nowMs
      } else if (nowMs - checkedMs >= CHECK_EVERY_MS) {
        checkedMs = nowMs
        this.loop.wait(0)
      }
    }
  }

  /** Spins, then sleeps, until a ring moves or a descriptor is ready. Returns true if it has slept. */
  private waitForWork(session: BackendSession): boolean {
    const { rings } = this
    if (rings.spin(session.rings.memory.id)) return false
    const moved = rings.arm()
    if (!moved) this.loop.wait(Math.ceil(rings.nextDueMs()))
    rings.disarm()
    return !moved
  }
}
