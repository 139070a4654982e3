import type { ControlClient } from '../../device/control-client.js'
import type { DeviceProcess } from '../../device/device-process.js'
import { processTree, wholeCpuUs } from '../processes.js'

/** One of the two devices that are compared: its process, and its share as host and guest see it. */
export interface Side {
  who: 'ours' | 'peer'
  device: DeviceProcess
  hostDir: string
  guestDir: string
  /** Ours answers questions. */
  control?: ControlClient
}

/** Latency of one opcode as the device sees it: from seen on the ring to given back. */
export interface DeviceLatency {
  opcode: string
  count: number
  p50Us: number
  p99Us: number
}

/** A share without a tag goes by its number. */
const SHARE = '0'

/** Processor time that a device has used so far, in microseconds, with the processes that it started. */
export function processorTimeUs({ device }: Side): number {
  return wholeCpuUs(processTree(device.pid))
}

/** What a device sees of some work: its own latencies while `work` runs. Counting costs it something. */
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
