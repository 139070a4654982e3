import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AsyncBackendOptions } from './backend-options.js'
import type { VhostUserDevice } from './device.js'
import { mustSucceed, RequestsUnderWay, StateError } from './errors.js'
import type { EventLoop } from './event-loop.js'
import { FaultLog, type Logger } from './logger.js'
import { RingServer, soonest } from './rings/ring-server.js'
import { countInFlight, type Vring } from './rings/vring.js'
import { BackendSession } from './session/backend-session.js'
import type { Connection, Message } from './session/connection.js'
import type { HandedConnection } from './session/handed-session.js'
import { prepareFor } from './session/lent-queues.js'
import { watchForLoss } from './session/memory-loss.js'
import { receiveMessages } from './session/receive-messages.js'

/** Busy rings yield to everything else on Node's loop this often. */
const TURN_MS = 1
/** The same beside other devices on the thread: the longest wait for each of them, besides one request. */
const SHARED_TURN_MS = 0.25
/** A spin yields this often to Node's loop, from where promises settle, and to other devices on the thread. */
const SLICE_NS = 10_000
/** A back-end that is to be suspended looks this often at the calls that the host carries out. */
const SETTLE_SLICE_MS = 2
const DEFAULT_STOP_TIMEOUT_MS = 2000
/** The time for promises to settle after their requests have been cancelled. */
const CANCEL_TIMEOUT_MS = 100

/** What waits for requests in flight. */
interface Held {
  /** True once it need not wait any more. */
  isDone(): boolean
  /** Goes on. Requests still in flight are given up. */
  goOn(): void
}

/** Serves one front-end from Node's event loop, from its connection to its end. */
export class ServedFrontEnd {
  readonly ended: Promise<void>
  readonly session: BackendSession
  readonly rings: RingServer
  private readonly faults: FaultLog
  private readonly stopTimeoutMs: number
  private unwatch = () => {}
  private settle!: { resolve(): void; reject(error: unknown): void }
  private over = false
  /** The front-end has left, and the host still carries requests out. */
  private leaving = false
  private suspended = false
  /** It waits for requests under way, and is suspended then. */
  private isSuspending = false
  private held: Held | undefined
  private heldTimer: NodeJS.Timeout | undefined
  private immediate: NodeJS.Immediate | undefined
  private dueTimer: NodeJS.Timeout | undefined
  private flushIsDue = false
  /** The time at which the thread went to sleep, or began the spin before; 0: it is awake. */
  private idleSinceMs = 0
  /** The time at which a spin in slices began; 0: there is none. */
  private slicesSinceMs = 0

  constructor(
    private readonly connection: Connection,
    private readonly device: VhostUserDevice,
    private readonly loop: EventLoop,
    private readonly log: Logger,
    private readonly options: AsyncBackendOptions,
  ) {
    this.ended = new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
    })
    this.faults = new FaultLog(log)
    const { pollUs, leftOutMarks } = options
    this.stopTimeoutMs = options.stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS
    this.rings = new RingServer(device, loop, log, this.faults, pollUs, {
      settled: () => this.flushSoon(),
      failed: (error) => this.fail(error),
    })
    const transfers = { loop, failed: (error: unknown) => this.fail(error) }
    this.session = new BackendSession(connection, device, this.rings, this.faults, transfers, leftOutMarks)
  }

  /** Begins to serve. */
  begin(): void {
    const { loop, connection, session, log, rings } = this
    const { neighbours } = this.options
    this.listen()
    const endWatch = watchForLoss(loop, connection, session, log)
    const endTurns = loop.watch(this.turn)
    neighbours?.join(rings)
    this.unwatch = () => {
      endTurns()
      endWatch()
      neighbours?.leave(rings)
    }
    // The device may have work without a request.
    this.turnSoon()
  }

  /** See QueueLender. */
  get whyNotLend(): string | undefined {
    const { over, leaving, suspended, isSuspending, held } = this
    if (over || leaving || suspended || isSuspending || held !== undefined) return 'queues are being stopped'
    return this.session.whyNotLend
  }

  /** See QueueLender. */
  disconnect(): void {
    this.connection.closed = true
    this.turnSoon()
  }

  /** Never throws. */
  end(): void {
    if (this.over || this.leaving) return
    try {
      this.takeQueuesBack()
    } catch (error) {
      this.fail(error)
      return
    }
    if (this.device.hurry?.() !== false) {
      this.finish(() => this.settle.resolve())
      return
    }
    this.leaving = true
    clearTimeout(this.heldTimer)
    this.pauseAll()
    this.loop.remove(this.connection.fd)
    this.held = {
      isDone: () => this.device.hurry?.() !== false,
      goOn: () => this.finish(() => this.settle.resolve()),
    }
    this.turnSoon()
  }

  /** See AsyncBackend. */
  async suspend(untilMs: number): Promise<HandedConnection> {
    if (this.held !== undefined) throw new StateError('a queue is being stopped: ask again')
    this.isSuspending = true
    this.pauseAll()
    try {
      for (;;) {
        const handed = this.trySuspend(untilMs)
        if (handed !== undefined) return handed
        await sleep(1)
        if (this.over || this.leaving) throw new StateError('the front-end has left')
      }
    } catch (error) {
      if (!this.over && !this.leaving) {
        this.rings.resume()
        this.turnSoon()
      }
      throw error
    } finally {
      this.isSuspending = false
    }
  }

  /** Returns undefined if the host still carries requests out and there is time left. */
  private trySuspend(untilMs: number): HandedConnection | undefined {
    try {
      const handed = this.session.suspend(Math.min(untilMs, performance.now() + SETTLE_SLICE_MS))
      this.suspended = true
      this.loop.remove(this.connection.fd)
      return handed
    } catch (error) {
      if (!(error instanceof RequestsUnderWay) || performance.now() >= untilMs) throw error
      return undefined
    }
  }

  resume(): void {
    if (!this.suspended) return
    this.suspended = false
    this.session.resume()
    this.listen()
    this.turnSoon()
  }

  private pauseAll(): void {
    this.rings.pause(this.session.rings.vrings.filter(({ queue }) => queue !== undefined))
  }

  private fail(error: unknown): void {
    this.finish(() => this.settle.reject(error))
  }

  /** Never throws: a device that fails at the very end is reported like any other. */
  private finish(settle: () => void): void {
    if (this.over) return
    this.over = true
    clearImmediate(this.immediate)
    clearTimeout(this.dueTimer)
    clearTimeout(this.heldTimer)
    this.unwatch()
    this.loop.remove(this.connection.fd)
    this.attempt(() => this.takeQueuesBack())
    this.attempt(() => this.session.close())
    this.connection.close()
    settle()
  }

  private takeQueuesBack(): void {
    this.options.queueKeeper?.takeBack({ memory: true, session: true })
  }

  private attempt(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.settle.reject(error)
    }
  }

  /** Handles everything that has happened. Never throws. */
  private readonly turn = (): void => {
    if (this.over) return
    clearImmediate(this.immediate)
    this.immediate = undefined
    clearTimeout(this.dueTimer)
    if (this.idleSinceMs > 0) this.rings.slept(performance.now() - this.idleSinceMs)
    this.idleSinceMs = 0
    try {
      this.rings.disarm()
      // Rings that are lent or come back start anew: what waits on them is served below.
      this.options.queueKeeper?.progress(performance.now())
      const goesOn = this.work()
      // The device may have stopped its back-end.
      if (this.over) return
      if (this.connection.closed) this.end()
      if (this.over) return
      this.releaseIfIdle()
      if (this.over) return
      if (goesOn) this.turnSoon()
      else this.sleep()
    } catch (error) {
      this.fail(error)
    }
  }

  /** Serves the rings once. Returns true if it must run again after promises and the rest of Node had their turn. */
  private work(): boolean {
    const { rings, session } = this
    const isShared = this.options.neighbours?.areSeveral === true
    const turnMs = isShared ? SHARED_TURN_MS : TURN_MS
    let hasCaught = false
    this.loop.wait(0)
    const startMs = performance.now()
    for (let nowMs = startMs; nowMs - startMs < turnMs; nowMs = performance.now()) {
      if (this.over || (this.connection.closed && !this.leaving)) return false
      if (rings.work(nowMs, isShared ? nowMs + turnMs : 0)) {
        this.slicesSinceMs = 0
        hasCaught = false
        this.releaseIfIdle()
        // Promises that only need a turn of the loop settle before the next one.
        if (this.waitsForNode || (isShared && this.othersWait)) return true
        continue
      }
      // The spin has seen what came for another device.
      if (hasCaught && isShared) return true
      const isWaiting = this.waitsForNode
      const idleSinceMs = this.slicesSinceMs || nowMs
      hasCaught = rings.spin(session.rings.memory.id, isWaiting || isShared ? SLICE_NS : undefined)
      if (hasCaught) continue
      if ((isWaiting || isShared) && (performance.now() - idleSinceMs) * 1e6 < rings.spinNs) {
        this.slicesSinceMs = idleSinceMs
        if (isWaiting || this.othersWait) return true
        continue
      }
      this.slicesSinceMs = 0
      if (rings.arm()) return true
      this.idleSinceMs = idleSinceMs
      return false
    }
    return true
  }

  private get waitsForNode(): boolean {
    return this.options.usesPromises !== false && this.rings.inFlightCount > 0
  }

  private get othersWait(): boolean {
    return this.options.neighbours?.wait(this.rings) === true
  }

  /** Runs a turn as soon as Node's loop comes round. */
  turnSoon(): void {
    if (!this.over) this.immediate ??= setImmediate(this.turn)
  }

  private sleep(): void {
    const dueMs = soonest(this.rings.nextDueMs(), this.options.queueKeeper?.nextDueMs() ?? -1)
    if (dueMs >= 0) this.dueTimer = setTimeout(this.turn, Math.ceil(dueMs))
  }

  /** Signals drivers once for all requests completed until promises have nothing more to do. */
  private flushSoon(): void {
    if (this.flushIsDue) return
    this.flushIsDue = true
    process.nextTick(() => {
      this.flushIsDue = false
      this.guarded(() => {
        this.rings.signalCompleted()
        this.releaseIfIdle()
        if (this.rings.holdsBack) this.turnSoon()
      })
    })
  }

  private guarded(run: () => void): void {
    if (this.over) return
    try {
      run()
    } catch (error) {
      this.fail(error)
    }
  }

  private listen(): void {
    const { connection, session } = this
    const { queueKeeper } = this.options
    const receive = () =>
      receiveMessages(connection, this.log, (message) => {
        if (queueKeeper !== undefined) prepareFor(queueKeeper, message.request)
        if (this.hold(message)) return false
        session.handle(message)
        return true
      })
    mustSucceed('epoll_ctl', this.loop.addReadable(connection.fd, receive))
  }

  /** Holds back a message that stops rings with requests in flight. Returns false if there is nothing to wait for. */
  private hold(message: Message): boolean {
    const { session, rings } = this
    const vrings = session.ringMessages.stoppedBy(message)
    if (countInFlight(vrings) > 0) this.hurry()
    if (countInFlight(vrings) === 0) return false
    this.held = {
      isDone: () => countInFlight(vrings) === 0,
      goOn: () => {
        this.loop.remove(this.connection.fd)
        session.handle(message)
        rings.resume()
        this.listen()
        this.turnSoon()
      },
    }
    // A device that hurries gives up what takes too long, on whatever ring it came: no other request may begin.
    if (this.device.hurry === undefined) rings.pause(vrings)
    else this.pauseAll()
    // The next message has to wait, but the end of the connection is still noticed.
    this.loop.remove(this.connection.fd)
    mustSucceed(
      'epoll_ctl',
      this.loop.add(this.connection.fd, 0, () => this.hangUp()),
    )
    if (this.stopTimeoutMs < Number.POSITIVE_INFINITY)
      this.heldTimer = setTimeout(() => this.guarded(() => this.cancelHeld(vrings)), this.stopTimeoutMs)
    return true
  }

  /** Has the device end its requests soon. */
  private hurry(): void {
    if (this.device.hurry === undefined) this.session.drain()
    else this.device.hurry()
  }

  private hangUp(): void {
    this.connection.closed = true
  }

  private cancelHeld(vrings: readonly Vring[]): void {
    this.faults.warn('requests in flight cancelled: their queue stops', { requests: countInFlight(vrings) })
    this.heldTimer = setTimeout(() => this.guarded(() => this.release()), CANCEL_TIMEOUT_MS)
    for (const { queue } of vrings) if (queue !== undefined) this.session.cancelRequests(queue)
    this.flushSoon()
  }

  private releaseIfIdle(): void {
    if (this.held?.isDone() === true) this.release()
  }

  /** Goes on with what was held back. */
  private release(): void {
    const { held } = this
    if (held === undefined || this.over) return
    this.held = undefined
    clearTimeout(this.heldTimer)
    held.goOn()
  }
}
