import type { ControlClient } from '../../device/control-client.js'
import type { DeviceProcess } from '../../device/device-process.js'
import { processTree, wholeCpuUs } from '../processes.js'

/** One of the two compared devices: its process, and its share as host and guest see it. */
export interface Side {
  who: 'ours' | 'peer'
  device: DeviceProcess
  hostDir: string
  guestDir: string
  /** Only our device has one. */
  control?: ControlClient
}

/** Latency of one opcode as the device sees it, from a request's arrival on the ring to its completion. */
export interface DeviceLatency {
  opcode: string
  count: number
  p50Us: number
  p99Us: number
}

/** A share without a tag is named by its number. */
const SHARE = '0'

/** Returns the processor time that a device and its child processes have used so far, in microseconds. */
export function processorTimeUs({ device }: Side): number {
  return wholeCpuUs(processTree(device.pid))
}

/** Returns the device's own latencies during `work`. Counting costs the device some time. */
export async function observeDevice(
  { control }: Side,
  work: () => Promise<unknown>,
): Promise<DeviceLatency[]> {
  if (control === undefined) return []
  await control.ask('inspect', true, SHARE)
  await work()
  const latencies = await control.ask<DeviceLatency[]>('latency', undefined, SHARE)
  await control.ask('inspect', false, SHARE)
  return latencies
}
