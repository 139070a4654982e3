import { readdirSync } from 'node:fs'
import { textOf } from '../host/text-of.js'

const NS_PER_MS = 1e6
/** Linux's USER_HZ, in which /proc counts. */
const TICK_US = 10_000
/** Indexes in /proc/PID/stat behind the name: the parent, and the time in user and in system mode. */
const STAT_PPID = 1
const STAT_UTIME = 11
const STAT_STIME = 12

/** Returns a process and all its descendants. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name)) parents.set(Number(name), Number(statOf(name)[STAT_PPID]))
  }
  const tree = [root]
  for (const pid of tree) for (const [child, parent] of parents) if (parent === pid) tree.push(child)
  return tree
}

/** Returns the processor time of processes together, in microseconds, in ticks of 10 ms; ended threads count too. */
export function wholeCpuUs(pids: readonly number[]): number {
  return sum(pids.map(statOf).map((stat) => Number(stat[STAT_UTIME]) + Number(stat[STAT_STIME]))) * TICK_US
}

/** Returns the resident memory of processes together, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  return statusBytes(pids, 'VmRSS')
}

/** Returns the most resident memory that each process has had, together, in bytes. */
export function peakResidentBytes(pids: readonly number[]): number {
  return statusBytes(pids, 'VmHWM')
}

function statusBytes(pids: readonly number[], field: 'VmRSS' | 'VmHWM'): number {
  const pattern = new RegExp(`^${field}:\\s+(\\d+)`, 'm')
  return sum(pids.map((pid) => 1024 * Number(pattern.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0)))
}

/**
 * Returns the memory that only these processes have, in bytes: what ends with them. Clean pages of files do not, and count as
 * private or not by what other programs run.
 */
export function privateBytes(pids: readonly number[]): number {
  const kibs = pids.flatMap((pid) => [
    ...textOf(`/proc/${pid}/smaps_rollup`).matchAll(/^Private_Dirty: *(\d+) kB/gm),
  ])
  return sum(kibs.map(([, kib]) => 1024 * Number(kib)))
}

/** Returns the processor time of the present threads of processes, in milliseconds, to the microsecond. */
export function cpuMs(pids: readonly number[]): number {
  return sum(threadsOf(pids).map((dir) => Number(textOf(`${dir}/schedstat`).split(' ')[0]) / NS_PER_MS))
}

/** Returns how often the threads went to sleep; a timer that wakes an idle thread shows here. */
export function sleeps(pids: readonly number[]): number {
  return sum(
    threadsOf(pids).map((dir) =>
      Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(textOf(`${dir}/status`))?.[1] ?? 0),
    ),
  )
}

/**
 * Returns the fields of proc_pid_stat(5) behind the name, which may hold anything; empty if the process has ended.
 */
function statOf(pid: number | string): string[] {
  const stat = textOf(`/proc/${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function threadsOf(pids: readonly number[]): string[] {
  return pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`))
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}
