import { readdirSync, readFileSync } from 'node:fs'

const NS_PER_MS = 1e6

/** Resident memory of processes together, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  return sum(pids.map((pid) => 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0)))
}

/** Processor time of processes together, in milliseconds, to the microsecond. */
export function cpuMs(pids: readonly number[]): number {
  return sum(threadsOf(pids).map((dir) => Number(read(`${dir}/schedstat`).split(' ')[0]) / NS_PER_MS))
}

/** How often their threads went to sleep: an idle one that is woken by a timer shows here. */
export function sleeps(pids: readonly number[]): number {
  return sum(
    threadsOf(pids).map((dir) =>
      Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(read(`${dir}/status`))?.[1] ?? 0),
    ),
  )
}

function threadsOf(pids: readonly number[]): string[] {
  return pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`))
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // It ended in between.
    return ''
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}
