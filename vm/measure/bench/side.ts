import { readFileSync } from 'node:fs'
import type { ControlClient } from '../../device/control-client.js'
import type { DeviceProcess } from '../../device/device-process.js'
import { processTree } from '../bench-device/process-tree.js'

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
/** Linux's USER_HZ, in which /proc counts. */
const TICK_US = 10_000
/** Places in /proc/PID/stat behind the name: time in user and in system mode. */
const STAT_UTIME = 11
const STAT_STIME = 12

/** Processor time that a device has used so far, in microseconds, with the processes that it started. */
export function processorTimeUs({ device }: Side): number {
  return processTree(device.pid).reduce((sum, pid) => sum + ticksOf(pid), 0) * TICK_US
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name before the last parenthesis may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[STAT_UTIME]) + Number(fields[STAT_STIME])
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
