import type { EventLoop } from './event-loop.js'
import type { FileIo } from './io/file-io.js'
import { CONFIG_MAX_BYTES, DEVICE_CLASS_FEATURES, MAX_QUEUES, VIRTQUEUE_MAX_SIZE } from './protocol.js'
import type { DescriptorChain } from './rings/descriptor-chain.js'

/** The services that a back-end offers its device. */
export interface DeviceHost {
  /**
   * Makes the front-end read `config` again and notify the driver, by BACKEND_CONFIG_CHANGE_MSG. Returns false if no
   * front-end is connected or it has not negotiated CONFIG and BACKEND_REQ.
   */
  notifyConfigChange(): boolean
}

/**
 * Takes a state over, in pieces of any size. Its methods throw StateError for a state that they refuse. Only a back-end on
 * Node's event loop waits for promises.
 */
export interface StateLoader {
  /** The bytes are valid until this returns, or its promise settles. */
  write(bytes: Uint8Array): void | Promise<void>
  /** The state is whole: the rings may start after this. */
  end(): void | Promise<void>
  /** The rest will not come, or was refused: drop everything. */
  abort(): void
}

/**
 * A virtio device class. Its methods run on the thread that serves the rings, one at a time. None may block longer
 * than the guest may wait.
 */
export interface VhostUserDevice {
  /** Names the device in logs. */
  readonly name: string
  /** The number of queues, 1 to 256. */
  readonly queueCount: number
  /** The largest size a queue may have, a power of two. Default 1024. */
  readonly maxQueueSize?: number
  /** The feature bits of the device class to offer (virtio 1.3, 6: bits 0 to 23, 50 to 63). Default none. */
  readonly features?: bigint
  /**
   * The device configuration space, at most 256 bytes, read whenever the driver reads it; absent: the front-end provides
   * it. To change it, write to these bytes, then call `DeviceHost.notifyConfigChange`.
   */
  readonly config?: Uint8Array
  /** The engine for the device's asynchronous reads and writes, polled together with the rings. */
  readonly io?: FileIo

  /**
   * Receives the features that the driver has acknowledged: the device class's and the transport's (`VirtioFeature`).
   * Called before the rings start, and again before each later start.
   */
  acceptFeatures?(features: bigint): void

  /**
   * Handles the driver's write to the configuration space by changing `config`. Returns false to refuse. Absent: the
   * space is read-only.
   */
  writeConfig?(offsetBytes: number, bytes: Uint8Array): boolean

  /**
   * Called before a batch of requests, and after it: between the two, the device may read what it shares with devices on other
   * threads.
   */
  enter?(): void
  leave?(): void

  /**
   * Serves one request. Returns how many of its writable bytes are now valid; or PENDING, to call `chain.complete`
   * later; or a promise of that number, which only a back-end on Node's event loop can serve. Queue 0 is served
   * before the others. A throw or a rejection ends the service: it means a bug here, never a bad request.
   */
  process(chain: DescriptorChain, queueIndex: number): number | PromiseLike<number>

  /**
   * Answers a request with a bad chain, which cannot be carried out. `chain` has the reachable front of its readable
   * and of its writable bytes. Returns how many of the writable bytes are now valid, or PENDING to never complete the
   * request: some drivers take an empty reply for success. Absent: the request completes with 0 bytes.
   */
  refuse?(chain: DescriptorChain): number

  /** Called once before anything else: adds the descriptors that should wake the device. */
  attach?(loop: EventLoop, host: DeviceHost): void

  /**
   * Starts the work that requests began and completes finished requests. Called after each batch of requests and each
   * wake-up, and so before each batch: `nowMs`, of `performance.now()`, is when the last one has ended and the next one
   * begins. Returns true if a request was completed.
   */
  progress?(nowMs: number): boolean

  /** Returns the milliseconds until `progress` has work without a request, or -1 for never. */
  nextDueMs?(): number

  /**
   * Returns true if too much is pending to begin more. Requests then stay in their rings, except in queue 0, until
   * `progress` has completed some.
   */
  isFull?(): boolean

  /**
   * Returns true if other threads work on a request. This thread then sleeps instead of spinning on the rings, which
   * could keep the processor from those threads.
   */
  isWorking?(): boolean

  /**
   * Completes every pending request that can be completed by blocking here, before rings stop or memory is removed. A
   * back-end on Node's event loop waits for the others, up to `stopTimeoutMs`.
   */
  drain?(): void

  /**
   * Does what `drain` does, without blocking: completes what can be completed now, and has the rest end soon. Returns true if
   * nothing is left for `drain` to wait for. A back-end on Node's event loop calls it again and again, and `progress` between,
   * before rings stop, and then serves no other request. Absent: `drain` is called at once.
   */
  hurry?(): boolean

  /**
   * Completes a request that can wait no longer with an error of the device class. The guest may or may not still
   * read it. A request left open is given up: the guest never gets it back, and its `complete` returns false. Needed
   * by devices whose pending requests may outlast `drain`.
   */
  cancel?(chain: DescriptorChain): void

  /**
   * Makes every pending request one that can be served from its beginning again. First completes what the host carries out
   * at this moment; returns false if that takes longer than until `untilMs` (of `performance.now()`), and everything goes
   * on. Then forgets all other pending requests without completing them: they are served again, here or by another process.
   * Absent: the device cannot be handed to another process.
   */
  suspend?(untilMs: number): boolean

  /**
   * Yields what another instance of this device needs to go on for the same driver. The rings stand still meanwhile; the
   * device stays as it is, since the front-end may start them again. Throws StateError if it cannot. With `loadState`, it
   * makes the device one that can be migrated: VHOST_F_LOG_ALL and DEVICE_STATE are offered. Only a back-end on Node's
   * event loop serves an AsyncIterable.
   */
  saveState?(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>

  /**
   * Called with true when the front-end begins to have writes logged: it is going to ask for the state of this device, which
   * still serves its driver. Called with false when it ends that without having asked, or after a failure. Whatever `saveState`
   * needs can be prepared between `progress` calls.
   */
  prepareState?(isExpected: boolean): void

  /** Begins to take over a state that `saveState` of another instance yielded. What was there before is dropped. */
  loadState?(): StateLoader

  /** Forgets everything the driver set up. Called on RESET_DEVICE, and when the front-end has left. Idempotent. */
  reset?(): void
}

/** Throws RangeError for a device that breaks the protocol's limits. */
export function checkDevice({ name, queueCount, maxQueueSize, config, features }: VhostUserDevice): void {
  if (!Number.isInteger(queueCount) || queueCount < 1 || queueCount > MAX_QUEUES)
    throw new RangeError(`${name}: ${queueCount} queues, not 1 to ${MAX_QUEUES}`)
  const size = maxQueueSize ?? 1
  if (!Number.isInteger(size) || size < 1 || size > VIRTQUEUE_MAX_SIZE || (size & (size - 1)) !== 0)
    throw new RangeError(`${name}: queue size ${size} is not a power of two up to ${VIRTQUEUE_MAX_SIZE}`)
  if (config !== undefined && config.length > CONFIG_MAX_BYTES)
    throw new RangeError(`${name}: ${config.length} bytes of configuration, more than ${CONFIG_MAX_BYTES}`)
  const foreign = (features ?? 0n) & ~DEVICE_CLASS_FEATURES
  if (foreign !== 0n)
    throw new RangeError(`${name}: features 0x${foreign.toString(16)} are not a device class’s`)
}
