import type { DescriptorChain } from './descriptor-chain.js'
import type { EventLoop } from './event-loop.js'
import type { FileIo } from './file-io.js'
import { CONFIG_MAX_BYTES, DEVICE_CLASS_FEATURES, MAX_QUEUES, VIRTQUEUE_MAX_SIZE } from './protocol.js'

/** What a device can ask of the back-end that serves it. */
export interface DeviceHost {
  /**
   * Has the front-end read `config` anew and tell the driver, by BACKEND_CONFIG_CHANGE_MSG. Returns false when nobody can
   * be told: no front-end is connected, or it has not negotiated CONFIG and BACKEND_REQ.
   */
  notifyConfigChange(): boolean
}

/**
 * A virtio device class. Its methods run on the thread that serves the rings, one at a time, and must not block longer
 * than the guest is to wait.
 */
export interface VhostUserDevice {
  /** Names the device in logs. */
  readonly name: string
  /** Queues that exist, 1 to 256. */
  readonly queueCount: number
  /** The largest size a queue may have, a power of two. Default 1024. */
  readonly maxQueueSize?: number
  /** Feature bits of the device class that are offered (virtio 1.3, 6: bits 0 to 23, 50 to 63). Default none. */
  readonly features?: bigint
  /**
   * The device configuration space, at most 256 bytes, read whenever the driver reads it; absent: the front-end provides
   * it. To change it, write to these bytes, then call `DeviceHost.notifyConfigChange`.
   */
  readonly config?: Uint8Array
  /** The engine behind the device's asynchronous reads and writes: waited on together with the rings. */
  readonly io?: FileIo

  /**
   * The driver has acknowledged these of the offered features, the device class's and the transport's (`VirtioFeature`).
   * Called before the rings start, and again whenever they are about to.
   */
  acceptFeatures?(features: bigint): void

  /**
   * The driver writes to the configuration space. Returns false to refuse. It is for the device to change `config`.
   * Absent: the space is read-only.
   */
  writeConfig?(offsetBytes: number, bytes: Uint8Array): boolean

  /**
   * Serves one request. Returns how many of its writable bytes are now valid; or PENDING, to call `chain.complete` later;
   * or a promise of those bytes, which only a back-end on Node's event loop can serve. Queue 0 is served before the
   * others. A throw or a rejection ends the service: it means a bug here, never a bad request.
   */
  process(chain: DescriptorChain, queueIndex: number): number | PromiseLike<number>

  /**
   * Answers a request whose chain is bad, which cannot be carried out: `chain` has the front of its readable and of its
   * writable bytes, as far as they can be reached. Returns how many of the writable bytes are now valid, or PENDING to
   * never give the request back: for drivers that take a reply of nothing for success. Absent: it is given back with 0.
   */
  refuse?(chain: DescriptorChain): number

  /** Called once before anything else: a device adds descriptors that it wants to be woken for. */
  attach?(loop: EventLoop, host: DeviceHost): void

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
   * Completes every pending request that can be completed by waiting here, before rings stop or memory goes away. A
   * back-end on Node's event loop waits there for the others, up to `stopTimeoutMs`.
   */
  drain?(): void

  /**
   * A request can wait no longer: complete it now, with an error, in the way of the device class. The guest may still be
   * there to read it, or not. A request that is open afterwards is given up: the guest never gets it back, and its
   * `complete` returns false. Needed by devices whose pending requests may outlast `drain`.
   */
  cancel?(chain: DescriptorChain): void

  /** Forgets everything the driver set up: on RESET_DEVICE, and when the front-end has left. Idempotent. */
  reset?(): void
}

/** Throws RangeError for a device that the protocol has no room for. */
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
