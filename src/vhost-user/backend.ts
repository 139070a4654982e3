import * as native from 'virtiofsd-ts-native'
import { AdaptiveSpin } from './adaptive-spin.js'
import { BackendSession } from './backend-session.js'
import { Connection } from './connection.js'
import { PENDING } from './descriptor-chain.js'
import type { VhostUserDevice } from './device.js'
import { mustSucceed, ProtocolError } from './errors.js'
import { EventLoop } from './event-loop.js'
import { FaultLog, type Logger, silentLogger } from './logger.js'
import { VIRTQUEUE_MAX_SIZE } from './protocol.js'
import type { SplitVirtqueue } from './split-virtqueue.js'
import type { Vring } from './vring.js'

/** Requests served from one queue before its driver is told and the other queues have their turn. */
const BATCH = 32
/** While rings are busy, messages and other descriptors are looked at this often. */
const CHECK_EVERY_MS = 1
const MAX_QUEUES = 256
/** A front-end that sends without end must not keep the rings waiting. */
const MESSAGES_PER_TURN = 32

export interface BackendOptions {
  /** The longest spin on the rings before the thread sleeps, in microseconds. Default 50; 0 never spins. */
  readonly pollUs?: number
  readonly logger?: Logger
  /** Waited on together with the rings; shared with whoever wants to add descriptors or stop the back-end. */
  readonly loop?: EventLoop
}

/** Serves one device to one front-end at a time, on the calling thread. */
export class Backend {
  /** Add descriptors of your own; their handlers run between batches. */
  readonly loop: EventLoop
  private readonly log: Logger
  private readonly faults: FaultLog
  private readonly spin: AdaptiveSpin
  private readonly seen = new Uint16Array(MAX_QUEUES)
  private active: Vring[] = []
  private stopped = false

  constructor(
    private readonly device: VhostUserDevice,
    options: BackendOptions = {},
  ) {
    this.loop = options.loop ?? new EventLoop()
    this.log = options.logger ?? silentLogger
    this.faults = new FaultLog(this.log)
    this.spin = new AdaptiveSpin((options.pollUs ?? 50) * 1000, native.preemptions)
    device.attach?.(this.loop)
  }

  /** Makes `serve` return soon. To be called from a handler of `loop`. */
  stop(): void {
    this.stopped = true
  }

  /** Serves a connected socket until the front-end leaves or `stop`. Takes ownership of `fd`. */
  serve(fd: number): void {
    const connection = new Connection(fd)
    const session = new BackendSession(connection, this.device, this, this.faults)
    this.stopped = false
    mustSucceed(
      'epoll_ctl',
      this.loop.add(fd, native.constants.EPOLLIN, () => this.receive(connection, session)),
    )
    try {
      this.run(connection, session)
    } finally {
      this.loop.remove(fd)
      session.close()
      connection.close()
    }
  }

  ringStarted(vring: Vring, queue: SplitVirtqueue): void {
    // Edge-triggered, the eventfd need not be read: each kick wakes the wait once.
    const events = native.constants.EPOLLIN | native.constants.EPOLLET
    if (this.loop.add(vring.kickFd, events, wake) < 0) {
      throw new ProtocolError('BAD_FDS', `queue ${vring.index}: the kick descriptor cannot be waited for`)
    }
    mustSucceed('memoryWatch', native.memoryWatch(queue.memory.id, vring.index, queue.availIdxGpa))
    this.active = [...this.active, vring].sort((a, b) => a.index - b.index)
    this.log.debug({ queue: vring.index, size: vring.size, base: vring.base }, 'queue started')
  }

  ringStopping(vring: Vring, queue: SplitVirtqueue): void {
    this.loop.remove(vring.kickFd)
    native.memoryWatch(queue.memory.id, vring.index, -1)
    this.active = this.active.filter((other) => other !== vring)
    this.log.debug({ queue: vring.index }, 'queue stopped')
  }

  private receive(connection: Connection, session: BackendSession): void {
    try {
      for (let n = 0; n < MESSAGES_PER_TURN; n++) {
        const message = connection.receive()
        if (message === undefined) return
        session.handle(message)
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.log.error(
        { code: error.code, reason: error.message },
        'vhost-user connection cannot be followed: closed',
      )
      connection.closed = true
    }
  }

  private run(connection: Connection, session: BackendSession): void {
    let checkedMs = performance.now()
    while (!connection.closed && !this.stopped) {
      const served = this.drainRings()
      const completed = this.device.progress?.() === true
      if (served || completed) {
        const nowMs = performance.now()
        if (nowMs - checkedMs < CHECK_EVERY_MS) continue
        checkedMs = nowMs
        this.loop.wait(0)
        continue
      }
      this.waitForWork(session)
      checkedMs = performance.now()
    }
  }

  /** Spins, then sleeps, until a ring moves or a descriptor is ready. */
  private waitForWork(session: BackendSession): void {
    const { spin, active } = this
    const startMs = performance.now()
    const spins = spin.spinNs > 0 && active.length > 0 && this.device.isWorking?.() !== true
    if (spins && this.spinOnRings(session)) {
      spin.caught()
      return
    }
    let moved = false
    const full = this.device.isFull?.() === true
    for (const vring of active) {
      // What a full device has to wait for is no kick.
      if (full && vring.index > 0) break
      moved = vring.queue?.armKick() === true || moved
    }
    if (!moved) {
      this.loop.wait(Math.ceil(this.device.nextDueMs?.() ?? -1))
      spin.missed((performance.now() - startMs) * 1e6)
    }
    for (const vring of this.active) vring.queue?.disarmKick()
  }

  private spinOnRings(session: BackendSession): boolean {
    const { active, seen } = this
    for (const vring of active) seen[vring.index] = vring.queue?.lastAvail ?? 0
    return native.memorySpin(session.rings.memory.id, seen, this.spin.spinNs) === 1
  }

  /** A batch of every queue, all of the first before the others. Whether there was anything to do. */
  private drainRings(): boolean {
    let worked = false
    const { active } = this
    for (let n = 0; n < active.length; n++) {
      const vring = active[n]
      if (vring.index > 0 && this.device.isFull?.() === true) break
      worked = this.drainRing(vring, vring.index === 0 ? VIRTQUEUE_MAX_SIZE : BATCH) || worked
    }
    return worked
  }

  private drainRing(vring: Vring, limit: number): boolean {
    const { queue } = vring
    if (queue === undefined) return false
    let left = limit
    // What arrives meanwhile is part of the batch.
    for (
      let waiting = this.waitingOn(vring, queue);
      waiting > 0 && left > 0;
      waiting = this.waitingOn(vring, queue)
    ) {
      const count = Math.min(waiting, left)
      left -= count
      this.serveNext(vring, queue)
      // A driver that sleeps wakes up while the others are served.
      if (queue.shouldSignal()) vring.signal()
      for (let n = 1; n < count; n++) this.serveNext(vring, queue)
    }
    // Also for requests that were completed since the last look.
    if (queue.shouldSignal()) vring.signal()
    return left < limit
  }

  private waitingOn(vring: Vring, queue: SplitVirtqueue): number {
    const waiting = queue.available()
    if (waiting < 0) this.reportBroken(vring, queue)
    return waiting
  }

  private serveNext(vring: Vring, queue: SplitVirtqueue): void {
    const chain = queue.pop()
    if (chain === undefined) {
      this.faults.warn(`bad descriptor chain: ${queue.fault}`, { queue: vring.index })
      return
    }
    const writtenBytes = this.device.process(chain, vring.index)
    if (writtenBytes !== PENDING) queue.complete(chain, writtenBytes)
  }

  private reportBroken(vring: Vring, queue: SplitVirtqueue): void {
    native.memoryWatch(queue.memory.id, vring.index, -1)
    this.faults.warn('queue broken: impossible available index', { queue: vring.index })
    vring.signalError()
  }
}

function wake(): void {}
