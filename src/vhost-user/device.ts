import type { DescriptorChain } from './descriptor-chain.js'
import type { EventLoop } from './event-loop.js'

/**
 * A virtio device class. Its methods run on the thread that serves the rings, one at a time, and must not block longer
 * than the guest is to wait.
 */
export interface VhostUserDevice {
  /** Names the device in logs. */
  readonly name: string
  /** Queues that exist. */
  readonly queueCount: number
  /** The largest size a queue may have, a power of two. Default 1024. */
  readonly maxQueueSize?: number
  /** Feature bits of the device class (virtio 1.3, 5: bits 0-23). Default none. */
  readonly features?: bigint
  /** The device configuration space; absent: the front-end provides it. At most 256 bytes. */
  readonly config?: Uint8Array

  /**
   * Serves one request. Returns how many of its writable bytes are now valid, or PENDING to call `chain.complete`
   * later. Queue 0 is served before the others. A throw ends the thread: it means a bug here, never a bad request.
   */
  process(chain: DescriptorChain, queueIndex: number): number

  /** Called once before anything else: a device adds descriptors that it wants to be woken for. */
  attach?(loop: EventLoop): void

  /**
   * Called after each batch of requests and each wake-up: the place to start what requests began and to complete what
   * has finished. Returns whether anything was completed.
   */
  progress?(): boolean

  /** Milliseconds until `progress` has something to do by itself, -1 for never. */
  nextDueMs?(): number

  /**
   * Returns true when so much is pending that no more is to be begun: requests then stay in their rings, but for those of
   * queue 0, until `progress` has completed some.
   */
  isFull?(): boolean

  /**
   * Whether other threads are at work on a request: then this one sleeps instead of spinning on the rings, which could
   * keep the processor from them.
   */
  isWorking?(): boolean

  /**
   * Completes every request that `process` left pending, before rings stop or memory goes away. Needed by devices that
   * return PENDING.
   */
  drain?(): void

  /** Forgets everything the driver set up: on RESET_DEVICE, and when the front-end has left. Idempotent. */
  reset?(): void
}
