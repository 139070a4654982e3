import * as native from 'virtiofsd-ts-native'
import type { BackendOptions } from './backend-options.js'
import { checkDevice, type VhostUserDevice } from './device.js'
import { mustSucceed } from './errors.js'
import { EventLoop } from './event-loop.js'
import { FaultLog, silentLogger } from './logger.js'
import { GuestMemory } from './memory/guest-memory.js'
import { ringFeaturesOf } from './rings/ring-layout.js'
import { RingLoop } from './rings/ring-loop.js'
import { RingServer } from './rings/ring-server.js'
import { RingSet } from './rings/ring-set.js'
import { HandedFds, type HandedRing } from './session/handed-session.js'
import type { LentQueues } from './session/lent-queues.js'

/** An owner that has died can end this thread only while it is awake, so it wakes this often. */
const WAKE_MS = 2000
const wake = { progress: () => {}, nextDueMs: () => WAKE_MS }

/**
 * Serves queues that a Backend on another thread of this process lends. It has no connection: while the front-end's messages
 * are handled, its queues are back with their owner.
 */
export class QueueBackend {
  readonly loop: EventLoop
  private readonly rings: RingServer
  private readonly set: RingSet
  private stopped = false

  /** `lost` is called if the front-end has truncated a file of the guest's memory, and what is gone was touched. */
  constructor(
    private readonly device: VhostUserDevice,
    { loop = new EventLoop(), logger = silentLogger, pollUs }: BackendOptions,
    private readonly lost: () => void,
  ) {
    checkDevice(device)
    this.loop = loop
    this.rings = new RingServer(device, loop, logger, new FaultLog(logger), pollUs)
    // Its queues are suspended, and never stopped.
    const requests = { finish: () => {}, cancel: () => {} }
    this.set = new RingSet(device.queueCount, this.rings, requests, 0)
    device.io?.attach(loop, () => {})
    device.attach?.(loop, { notifyConfigChange: () => false })
    this.watchForLoss()
  }

  /** Serves until `stop` is called. Handlers of `loop` run between batches. */
  run(): void {
    const { rings, loop, set } = this
    new RingLoop(rings, loop, () => set.memory.id, wake).run(() => !this.stopped)
  }

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

  /** Serves these queues from now on. Throws ProtocolError if it cannot: they are its own all the same, and stand still. */
  take({ features: hexadecimal, regions, rings }: LentQueues): void {
    const { set, device } = this
    const features = BigInt(`0x${hexadecimal}`)
    for (const { ring, fds } of rings) set.at(ring.index).adopt(ring, new HandedFds(fds))
    // The memory is kept until `dropMemory`.
    if (set.memory.regionCount === 0) this.map(regions)
    set.features = ringFeaturesOf(features)
    device.acceptFeatures?.(features)
    this.goOn()
  }

  /**
   * Stops its queues as they are, and describes them. Undefined if the host carries out requests that take longer than until
   * `untilMs` (of `performance.now()`): then they are served on.
   */
  suspend(untilMs: number): readonly HandedRing[] | undefined {
    const { device, set } = this
    device.enter?.()
    const isSettled = device.suspend?.(untilMs) !== false
    device.leave?.()
    if (!isSettled) return undefined
    set.suspend()
    return this.lentRings
  }

  /**
   * Stops its queues, and describes them. What the host carries out, and does not end soon, ends as it does when the front-end
   * stops a queue.
   */
  end(): readonly HandedRing[] {
    const { device, set } = this
    device.enter?.()
    device.drain?.()
    device.io?.drain()
    device.leave?.()
    set.suspend()
    return this.lentRings
  }

  /** Serves on after `suspend`. */
  goOn(): void {
    this.set.resume()
  }

  /** Forgets its queues, which are stopped and with their owner again. */
  giveBack(): void {
    for (const vring of this.set.vrings) vring.giveBack()
  }

  /** Unmaps the guest's memory. */
  dropMemory(): void {
    const { set } = this
    set.memory.destroy()
    set.memory = new GuestMemory()
  }

  /** Releases what it holds. Queues that it still has are left as they are. */
  close(): void {
    this.set.suspend()
    this.giveBack()
    this.set.memory.destroy()
    this.loop.remove(native.lostMemoryFd())
  }

  private map(regions: LentQueues['regions']): void {
    const { memory } = this.set
    try {
      for (const { fd, gpa, sizeBytes, uva, fileOffsetBytes } of regions)
        memory.add(fd, gpa, sizeBytes, uva, fileOffsetBytes)
    } catch (error) {
      this.dropMemory()
      throw error
    }
  }

  private get lentRings(): readonly HandedRing[] {
    return this.set.vrings.flatMap(({ handed }) => (handed === undefined ? [] : [handed.ring]))
  }

  private watchForLoss(): void {
    const { EPOLLIN, EPOLLET } = native.constants
    const check = () => {
      if (this.set.memory.isLost) this.lost()
    }
    mustSucceed('epoll_ctl', this.loop.add(native.lostMemoryFd(), EPOLLIN | EPOLLET, check))
  }
}
