import type { Test } from 'tap'
import { Frontend, type FrontendOptions } from 'vhost-user-ts/frontend'
import type { Device } from '../device/device.js'
import { FuseGuest, type InitOffer } from './fuse-guest.js'
import { type Layout, linux } from './layouts.js'

const MIB = 1 << 20
/** Room for the indirect tables of several queues of 1024. A memfd uses memory only for the pages written. */
const MEMORY_BYTES = 256 * MIB
const TIMEOUT_MS = 20_000

export interface GuestOptions {
  /** Default 128, as QEMU's. */
  readonly queueSize?: number
  readonly indirect?: boolean
  readonly eventIdx?: boolean
  readonly layout?: Layout
  /** Default 1. */
  readonly requestQueues?: number
  readonly regionBytes?: readonly number[]
  /** The guest address where the rings and all buffers begin. Default 0. */
  readonly ringsFromGpa?: number
  /** Makes the file of a region of memory. Default: one that cannot shrink. */
  readonly makeMemory?: (sizeBytes: number) => number
}

/**
 * Returns a guest whose rings run and that has sent nothing yet. It disconnects at the end of the test at the latest.
 */
export function attach(t: Test, device: Pick<Device, 'socketPath'>, options: GuestOptions = {}): FuseGuest {
  const { queueSize = 128, indirect = true, eventIdx = true, requestQueues = 1 } = options
  const regionBytes = options.regionBytes ?? [MEMORY_BYTES]
  const frontendOptions: FrontendOptions = {
    indirect,
    eventIdx,
    regionBytes,
    timeoutMs: TIMEOUT_MS,
    ...(options.makeMemory && { makeMemory: options.makeMemory }),
  }
  const frontend = new Frontend(device.socketPath, frontendOptions)
  frontend.negotiate()
  if (options.ringsFromGpa !== undefined) frontend.allocate(options.ringsFromGpa, 1)
  for (let n = 0; n <= requestQueues; n++) frontend.addQueue(queueSize)
  const guest = new FuseGuest(frontend)
  guest.layout = options.layout ?? linux
  t.teardown(() => guest.close())
  return guest
}

/** Returns a guest that has mounted the share. */
export function mount(
  t: Test,
  device: Pick<Device, 'socketPath'>,
  options: GuestOptions & { init?: InitOffer } = {},
): FuseGuest {
  const guest = attach(t, device, options)
  guest.init(options.init)
  return guest
}
