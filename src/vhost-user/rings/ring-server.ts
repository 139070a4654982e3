import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import { AdaptiveSpin } from '../adaptive-spin.js'
import type { VhostUserDevice } from '../device.js'
import { mustSucceed, ProtocolError } from '../errors.js'
import type { EventLoop } from '../event-loop.js'
import type { FaultLog, Logger } from '../logger.js'
import { MAX_QUEUES, VIRTQUEUE_MAX_SIZE } from '../protocol.js'
import { type DescriptorChain, PENDING } from './descriptor-chain.js'
import type { RingHost } from './ring-set.js'
import type { SplitVirtqueue } from './split-virtqueue.js'
import { countInFlight, type Vring } from './vring.js'

/** The most requests served from one queue before its driver is signalled and the other queues have their turn. */
const BATCH = 32
const DEFAULT_POLL_US = 50

/** The likely reason why a well-meaning driver names memory that is not shared. */
const UNSHARED_MEMORY =
  'all of the guest’s memory has to be shared: each memory back-end needs share=on, also one that is plugged in later'

/** Receives the outcome of a device's promise. */
export interface Promises {
  /** A pending request was completed: its driver may want a signal. */
  settled(): void
  /** The device failed: a bug of its own. */
  failed(error: unknown): void
}

/** Serves the running rings, batch by batch, and decides when to look, to spin and to sleep. */
export class RingServer implements RingHost {
  private readonly spinning: AdaptiveSpin
  private readonly seen = new Uint16Array(MAX_QUEUES)
  private active: Vring[] = []
  private paused: Vring[] = []
  /** The number of requests taken from all rings so far. */
  private served = 0
  /** The time (of `performance.now()`) after which no further request of a batch begins; 0: there is none. */
  private untilMs = 0
  /** The queue after the first whose turn it is, if not all have had one by then. */
  private nextTurn = 0
  /** True if a full device has left requests in their rings: a completion is then a reason to look again. */
  holdsBack = false

  /** Without `promises`, a device that returns a promise fails. */
  constructor(
    private readonly device: VhostUserDevice,
    private readonly loop: EventLoop,
    private readonly log: Logger,
    private readonly faults: FaultLog,
    pollUs: number | undefined,
    private readonly promises?: Promises,
  ) {
    this.spinning = new AdaptiveSpin((pollUs ?? DEFAULT_POLL_US) * 1000, native.threadCpuNs)
  }

  ringStarted(vring: Vring, queue: SplitVirtqueue): void {
    // An edge-triggered eventfd need not be read: each kick wakes the wait once.
    const events = native.constants.EPOLLIN | native.constants.EPOLLET
    if (this.loop.add(vring.kickFd, events, wake) < 0) {
      throw new ProtocolError('BAD_FDS', `queue ${vring.index}: the kick descriptor cannot be waited for`)
    }
    mustSucceed('memoryWatch', native.memoryWatch(queue.memory.id, vring.index, queue.availIdxGpa))
    const { promises } = this
    if (promises !== undefined) queue.onLateCompletion = () => promises.settled()
    this.activate(vring)
    this.log.debug({ queue: vring.index, size: vring.size, base: vring.base }, 'queue started')
  }

  ringStopping(vring: Vring, queue: SplitVirtqueue): void {
    // For requests completed because the ring stops. Whoever runs it next takes the driver as told of all that are completed.
    this.tell(vring)
    this.loop.remove(vring.kickFd)
    native.memoryWatch(queue.memory.id, vring.index, -1)
    this.active = this.active.filter((other) => other !== vring)
    this.paused = this.paused.filter((other) => other !== vring)
    this.log.debug({ queue: vring.index }, 'queue stopped')
  }

  serveUnserved(vring: Vring, queue: SplitVirtqueue): void {
    this.device.enter?.()
    this.served += this.serveAgain(vring, queue)
    this.device.leave?.()
  }

  /** Takes no more requests from these rings; requests in flight may still be completed. */
  pause(vrings: readonly Vring[]): void {
    this.paused = [...vrings]
    this.active = this.active.filter((vring) => !vrings.includes(vring))
  }

  /** Resumes every paused ring that still runs. */
  resume(): void {
    const { paused } = this
    this.paused = []
    for (const vring of paused) this.activate(vring)
  }

  /** The number of requests in flight on all rings. */
  get inFlightCount(): number {
    return countInFlight(this.active) + countInFlight(this.paused)
  }

  /** The number of requests that wait on running rings and were not taken. */
  get waitingCount(): number {
    let count = 0
    for (const { queue } of this.active) count += queue?.waitingCount ?? 0
    return count
  }

  /** Has the device go on with what it carries out, then serves as `serveBatches` does. Returns true if there was any work. */
  work(nowMs: number, untilMs = 0): boolean {
    const { device } = this
    device.enter?.()
    // Results come first: the device's own progress may need them.
    const carriedOut = device.io?.progress() === true
    const completed = device.progress?.(nowMs) === true || carriedOut
    const served = this.serveBatches(untilMs)
    device.leave?.()
    return served || completed
  }

  /**
   * Serves a batch from each queue, and empties the first queue before the others. Returns true if there was any work. Beside
   * other devices on the thread: after `untilMs` (of `performance.now()`) no further request begins but one, and the next call
   * goes on with the queues that have had no turn.
   */
  serveBatches(untilMs = 0): boolean {
    let worked = false
    const { active } = this
    const others = active.length - 1
    this.holdsBack = false
    this.untilMs = untilMs
    for (let n = 0; n <= others; n++) {
      const vring = active[n === 0 ? 0 : 1 + (this.nextTurn % others)]
      if (vring.index > 0 && this.isFull) {
        this.holdsBack = true
        break
      }
      worked = this.serveBatch(vring, vring.index === 0 ? VIRTQUEUE_MAX_SIZE : BATCH) || worked
      if (n > 0) this.nextTurn = (this.nextTurn + 1) % others
      // A device that copied for long before has its turn with a request, too.
      if (worked && this.isLate) break
    }
    this.untilMs = 0
    return worked
  }

  private get isLate(): boolean {
    return this.untilMs > 0 && performance.now() >= this.untilMs
  }

  /** Signals drivers for the requests completed since the last signal. */
  signalCompleted(): void {
    for (const vring of this.active) this.tell(vring)
    for (const vring of this.paused) this.tell(vring)
  }

  /** Returns how long spinning pays now, in nanoseconds. 0: a request could not be seen, or not be taken. */
  get spinNs(): number {
    return this.active.length === 0 || this.holdsBack || this.isWorking ? 0 : this.spinning.spinNs
  }

  /** Looks at the rings in `memoryId` for as long as spinning pays, or `mostNs`. Returns true if one of them moved. */
  spin(memoryId: number, mostNs = Number.POSITIVE_INFINITY): boolean {
    const { spinning, active, seen } = this
    const spinNs = Math.min(this.spinNs, mostNs)
    if (spinNs === 0) return false
    for (const vring of active) seen[vring.index] = vring.queue?.lastAvail ?? 0
    const outcome = native.memorySpin(memoryId, seen, spinNs)
    const hasCaught = (outcome & 1) === 1
    if (hasCaught) spinning.caught(this.served)
    if (outcome > 1) spinning.lostProcessor((outcome >> 1) * 1000)
    return hasCaught
  }

  /** Records that the spin saw nothing and the sleep after it is over: `idleMs` since the spin began. */
  slept(idleMs: number): void {
    // Without a running ring there was nothing to miss.
    if (this.active.length > 0) this.spinning.missed(idleMs * 1e6, this.served)
  }

  /** Asks the drivers for kicks. Returns true if a request came before they could know: look again. */
  arm(): boolean {
    let moved = false
    const full = this.isFull
    for (const vring of this.active) {
      // A full device waits for its own completions, not for kicks.
      if (full && vring.index > 0) break
      moved = vring.queue?.armKick() === true || moved
    }
    return moved
  }

  /** Tells the drivers that no kick is needed for now. */
  disarm(): void {
    for (const vring of this.active) vring.queue?.disarmKick()
  }

  /** Returns the milliseconds until the device has work by itself, or -1 for never. */
  nextDueMs(): number {
    return soonest(this.device.nextDueMs?.() ?? -1, this.device.io?.nextDueMs() ?? -1)
  }

  private get isWorking(): boolean {
    return this.device.isWorking?.() === true || this.device.io?.isWorking === true
  }

  private get isFull(): boolean {
    return this.device.isFull?.() === true || this.device.io?.isFull === true
  }

  private activate(vring: Vring): void {
    this.active = [...this.active, vring].sort((a, b) => a.index - b.index)
  }

  private serveBatch(vring: Vring, limit: number): boolean {
    const { queue } = vring
    if (queue === undefined) return false
    let served = 0
    if (vring.unserved.length > 0) served += this.serveAgain(vring, queue)
    // Requests that arrive meanwhile join the batch.
    for (
      let waiting = this.waitingOn(vring, queue);
      waiting > 0 && served < limit;
      waiting = this.waitingOn(vring, queue)
    ) {
      const end = Math.min(served + waiting, limit)
      this.serveNext(vring, queue)
      served++
      // A sleeping driver wakes up while the other requests are served.
      this.tell(vring)
      for (; served < end && !this.isLate; served++) this.serveNext(vring, queue)
      if (this.isLate) break
    }
    // This also covers requests completed since the last look.
    this.tell(vring)
    this.served += served
    return served > 0
  }

  /** Signals a driver that wants to know of the requests completed since the last signal. */
  private tell(vring: Vring): void {
    if (vring.queue?.shouldSignal() === true) vring.signal(this.loop.waits)
  }

  /** Serves the requests that were in flight when the queue was suspended. Returns how many. */
  private serveAgain(vring: Vring, queue: SplitVirtqueue): number {
    const heads = vring.unserved
    vring.unserved = []
    for (const head of heads) this.serveChain(vring, queue, queue.take(head))
    return heads.length
  }

  private waitingOn(vring: Vring, queue: SplitVirtqueue): number {
    const waiting = queue.available()
    if (waiting < 0) this.reportBroken(vring, queue)
    return waiting
  }

  private serveNext(vring: Vring, queue: SplitVirtqueue): void {
    this.serveChain(vring, queue, queue.pop())
  }

  private serveChain(vring: Vring, queue: SplitVirtqueue, chain: DescriptorChain | undefined): void {
    if (chain === undefined) {
      this.refuse(vring, queue)
      return
    }
    const writtenBytes = this.device.process(chain, vring.index)
    if (typeof writtenBytes !== 'number') this.await(queue, chain, writtenBytes)
    else if (writtenBytes !== PENDING) queue.complete(chain, writtenBytes)
  }

  private refuse(vring: Vring, queue: SplitVirtqueue): void {
    const { fault, refused } = queue
    const hint = fault === 'address outside guest memory' ? { hint: UNSHARED_MEMORY } : {}
    this.faults.warn(`bad descriptor chain: ${fault}`, { queue: vring.index, ...hint })
    if (refused === undefined) return
    const writtenBytes = this.device.refuse?.(refused) ?? 0
    if (writtenBytes === PENDING) queue.giveUp(refused)
    else queue.complete(refused, writtenBytes)
  }

  private await(queue: SplitVirtqueue, chain: DescriptorChain, reply: PromiseLike<number>): void {
    const { promises, device } = this
    if (promises === undefined)
      throw new TypeError(`${device.name}: promises need a back-end on Node's event loop, see listen()`)
    reply.then(
      (writtenBytes) => {
        // The request was given up meanwhile.
        if (!chain.isOpen) return
        if (Number.isInteger(writtenBytes) && writtenBytes >= 0 && writtenBytes <= chain.writableBytes) {
          queue.retire(chain, writtenBytes)
          promises.settled()
        } else {
          const most = chain.writableBytes
          promises.failed(
            new RangeError(`${device.name}: process resolved to ${writtenBytes}, not 0 to ${most}`),
          )
        }
      },
      (error) => {
        // The rejection may come from an abort that we asked for ourselves.
        if (chain.isOpen && chain.controller?.signal.aborted !== true) promises.failed(error)
      },
    )
  }

  private reportBroken(vring: Vring, queue: SplitVirtqueue): void {
    native.memoryWatch(queue.memory.id, vring.index, -1)
    this.faults.warn('queue broken: impossible available index', { queue: vring.index })
    vring.signalError()
  }
}

/** Returns the shorter one of two times until something is due, each -1 for never. */
export function soonest(oneMs: number, otherMs: number): number {
  return oneMs < 0 || otherMs < 0 ? Math.max(oneMs, otherMs) : Math.min(oneMs, otherMs)
}

function wake(): void {}
