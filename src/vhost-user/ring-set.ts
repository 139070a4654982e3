import { ProtocolError } from './errors.js'
import { GuestMemory } from './guest-memory.js'
import type { RingFeatures } from './ring-layout.js'
import type { SplitVirtqueue } from './split-virtqueue.js'
import { Vring } from './vring.js'

/** What can change while a ring runs. */
export type RingSettings = Pick<Vring, 'addresses' | 'enabled' | 'kickFd'>

/** Who runs the rings of a session. */
export interface RingHost {
  /** `queue` runs from now on; the kick descriptor is to be waited for. May throw ProtocolError BAD_FDS. */
  ringStarted(vring: Vring, queue: SplitVirtqueue): void
  /** Called before the queue stops and its kick descriptor is closed. */
  ringStopping(vring: Vring, queue: SplitVirtqueue): void
}

/** What becomes of requests in flight before their ring stops: what is still in flight after both is given up. */
export interface RequestEnd {
  /** Completes every request that can be completed now. */
  finish(): void
  /** Answers each request of the queue with an error. */
  cancel(queue: SplitVirtqueue): void
}

/**
 * The rings of a connection, and the memory that they lie in: a ring runs as soon as it has all that it needs, and a
 * change that it cannot run with is taken back.
 */
export class RingSet {
  readonly vrings: readonly Vring[]
  /** Replaced as a whole by `replaceMemory`. */
  memory = new GuestMemory()
  /** Of queues that start from now on. */
  features: RingFeatures = { eventIdx: false, indirect: false }

  constructor(
    count: number,
    private readonly host: RingHost,
    private readonly requests: RequestEnd,
  ) {
    this.vrings = Array.from({ length: count }, (_, index) => new Vring(index))
  }

  /** Throws ProtocolError BAD_QUEUE. */
  at(index: number): Vring {
    const vring = this.vrings[index]
    if (vring === undefined) throw new ProtocolError('BAD_QUEUE', `queue ${index} of ${this.vrings.length}`)
    return vring
  }

  /** Changes settings of a ring, and stops or starts it as they say. When it cannot start so, nothing has changed. */
  change(vring: Vring, change: Partial<RingSettings>): void {
    const { addresses, enabled, kickFd } = vring
    this.stop(vring)
    Object.assign(vring, change)
    try {
      this.start(vring)
    } catch (error) {
      Object.assign(vring, { addresses, enabled, kickFd })
      this.start(vring)
      throw error
    }
  }

  stop(vring: Vring): void {
    if (vring.queue === undefined) return
    this.requests.finish()
    if (vring.queue.inFlightCount > 0) this.requests.cancel(vring.queue)
    this.host.ringStopping(vring, vring.queue)
    vring.stop()
  }

  stopAll(): void {
    for (const vring of this.vrings) this.stop(vring)
  }

  /** Takes the rings that run along to new memory; when one finds no place there, everything stays in the old. */
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

  /** Throws ProtocolError BAD_MEMORY for a region that is not there, or that a ring runs in. */
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

  /** Gives back every descriptor and mapping. Rings must have been stopped. */
  close(): void {
    for (const vring of this.vrings) vring.close()
    this.memory.destroy()
  }

  private start(vring: Vring): void {
    if (!vring.ready || vring.queue !== undefined) return
    const queue = vring.start(this.memory, this.features)
    try {
      this.host.ringStarted(vring, queue)
    } catch (error) {
      vring.stop()
      throw error
    }
  }

  /** Stops the rings that run, for a change of memory; returns them. */
  private pauseAll(): Vring[] {
    const running = this.vrings.filter((vring) => vring.queue !== undefined)
    this.stopAll()
    return running
  }
}
