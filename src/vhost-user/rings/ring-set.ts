import { ProtocolError } from '../errors.js'
import { type DirtyLog, QueueLog } from '../memory/dirty-log.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { type RingFeatures, usedBytes } from './ring-layout.js'
import type { SplitVirtqueue } from './split-virtqueue.js'
import { Vring } from './vring.js'

/** The settings that can change while a ring runs. */
export type RingSettings = Pick<Vring, 'addresses' | 'enabled' | 'kickFd' | 'logGpa'>

/** Runs the rings of a session. */
export interface RingHost {
  /** `queue` runs from now on: poll its kick descriptor. May throw ProtocolError BAD_FDS. */
  ringStarted(vring: Vring, queue: SplitVirtqueue): void
  /** Serves the requests that were in flight when the queue was suspended, and that no batch has served since. */
  serveUnserved(vring: Vring, queue: SplitVirtqueue): void
  /**
   * Called before the queue stops and its kick descriptor is closed. Some requests may have been completed just now: tell
   * the driver.
   */
  ringStopping(vring: Vring, queue: SplitVirtqueue): void
}

/** Ends requests in flight before their ring stops. Requests still in flight after both steps are given up. */
export interface RequestEnd {
  /** Completes every request that can be completed now. */
  finish(): void
  /** Answers each request of the queue with an error. */
  cancel(queue: SplitVirtqueue): void
}

/**
 * The rings of a connection, and their memory. A ring runs as soon as it has everything it needs. A change that would
 * keep a running ring from running is undone.
 */
export class RingSet {
  readonly vrings: readonly Vring[]
  /** `replaceMemory` replaces it as a whole. */
  memory: GuestMemory
  /** The features of queues that start from now on. */
  features: RingFeatures = { eventIdx: false, indirect: false }
  private dirtyLog: DirtyLog | undefined

  constructor(
    count: number,
    private readonly host: RingHost,
    private readonly requests: RequestEnd,
    /** See GuestMemory. */
    keptFds: number,
  ) {
    this.memory = new GuestMemory(keptFds)
    this.vrings = Array.from({ length: count }, (_, index) => new Vring(index))
  }

  /** Returns the ring of an index. Throws ProtocolError BAD_QUEUE. */
  at(index: number): Vring {
    const vring = this.vrings[index]
    if (vring === undefined) throw new ProtocolError('BAD_QUEUE', `queue ${index} of ${this.vrings.length}`)
    return vring
  }

  /** Changes settings of a ring, and stops or starts it accordingly. If it cannot start, nothing has changed. */
  change(vring: Vring, change: Partial<RingSettings>): void {
    const { addresses, enabled, kickFd, logGpa } = vring
    this.stop(vring)
    Object.assign(vring, change)
    try {
      this.start(vring)
    } catch (error) {
      Object.assign(vring, { addresses, enabled, kickFd, logGpa })
      this.start(vring)
      throw error
    }
  }

  /** Marks the writes of all rings in `log` from now on. Throws ProtocolError BAD_LOG, and then changes nothing. */
  logTo(log: DirtyLog | undefined): void {
    const running = this.vrings.filter(({ queue }) => queue !== undefined)
    const logs = running.map((vring) => queueLog(vring, log))
    this.dirtyLog = log
    running.forEach(({ queue }, n) => {
      if (queue !== undefined) queue.dirtyLog = logs[n]
    })
  }

  /** Sets or clears (-1) the used ring's place in the dirty log, while the ring runs or not. Throws BAD_LOG. */
  logUsedRing(vring: Vring, logGpa: number): void {
    const before = vring.logGpa
    vring.logGpa = logGpa
    try {
      if (vring.queue !== undefined) vring.queue.dirtyLog = queueLog(vring, this.dirtyLog)
    } catch (error) {
      vring.logGpa = before
      throw error
    }
  }

  /** Throws ProtocolError BAD_LOG if a log is in use that has no bits for guest addresses up to `endGpa`. */
  mustBeLogged(endGpa: number): void {
    this.dirtyLog?.mustCover(endGpa)
  }

  stop(vring: Vring): void {
    if (vring.queue === undefined) return
    // The ring's index is past them: nobody else would know of them.
    if (vring.unserved.length > 0) this.host.serveUnserved(vring, vring.queue)
    this.requests.finish()
    if (vring.queue.inFlightCount > 0) this.requests.cancel(vring.queue)
    this.host.ringStopping(vring, vring.queue)
    vring.stop()
  }

  stopAll(): void {
    for (const vring of this.vrings) this.stop(vring)
  }

  /**
   * Stops every ring as it is: requests in flight are neither completed nor given up, and are served from their beginning
   * when the rings start again, here or in another process.
   */
  suspend(): void {
    for (const vring of this.vrings) {
      if (vring.queue === undefined) continue
      this.host.ringStopping(vring, vring.queue)
      vring.suspend()
    }
  }

  /** Starts every ring that has what it needs, after `suspend`. Requests may have been completed without a signal. */
  resume(): void {
    for (const vring of this.vrings) this.start(vring)
    for (const vring of this.vrings) if (vring.queue !== undefined) vring.signal(0)
  }

  /** Moves the running rings to new memory. If one of them does not fit there, everything stays in the old memory. */
  replaceMemory(fresh: GuestMemory): void {
    const old = this.memory
    const running = this.pauseAll()
    this.memory = fresh
    try {
      for (const vring of running) this.start(vring)
    } catch (error) {
      this.stopAll()
      this.memory = old
      fresh.destroy()
      for (const vring of running) this.start(vring)
      throw error
    }
    old.destroy()
  }

  /** Removes a region. Throws ProtocolError BAD_MEMORY if there is no such region or a ring runs in it. */
  removeMemory(gpa: number, sizeBytes: number, uva: number): void {
    const tenant = this.vrings.find((vring) => vring.runsIn(gpa, sizeBytes))
    if (tenant !== undefined)
      throw new ProtocolError('BAD_MEMORY', `queue ${tenant.index} runs in the region to be removed`)
    const running = this.pauseAll()
    try {
      this.memory.remove(gpa, sizeBytes, uva)
    } finally {
      for (const vring of running) this.start(vring)
    }
  }

  /** Releases every descriptor and mapping. The rings must have been stopped. */
  close(): void {
    for (const vring of this.vrings) vring.close()
    this.memory.destroy()
  }

  private start(vring: Vring): void {
    if (!vring.ready || vring.queue !== undefined) return
    const queue = vring.start(this.memory, this.features)
    try {
      queue.dirtyLog = queueLog(vring, this.dirtyLog)
      this.host.ringStarted(vring, queue)
    } catch (error) {
      vring.stop()
      throw error
    }
  }

  /** Stops the running rings for a change of memory; returns them. */
  private pauseAll(): Vring[] {
    const running = this.vrings.filter((vring) => vring.queue !== undefined)
    this.stopAll()
    return running
  }
}

function queueLog({ logGpa, size }: Vring, log: DirtyLog | undefined): QueueLog | undefined {
  if (log === undefined) return undefined
  if (logGpa >= 0) log.mustCover(logGpa + usedBytes(size))
  return new QueueLog(log, logGpa, usedBytes(size))
}
