import { readdirSync, readFileSync } from 'node:fs'

const LOOK_EVERY_MS = 500
/** At most this part of the time counts as waiting, so that a limit becomes four times as long and no longer. */
const LONGEST_WAIT = 0.75

/**
 * Calls `late` after a process had `limitMs` to do something. Time does not count in which it, another child of ours such as
 * a device, or this process waited for a processor, so that a limit means the same on a busy machine. Returns a function that
 * cancels the call.
 */
export function whenLate(pid: number, limitMs: number, late: () => void): () => void {
  const startMs = performance.now()
  const waited = new WaitedTime(pid)
  const timer = setInterval(
    () => {
      const passedMs = performance.now() - startMs
      if (passedMs - Math.min(waited.sinceStartMs(), LONGEST_WAIT * passedMs) < limitMs) return
      clearInterval(timer)
      late()
    },
    Math.min(LOOK_EVERY_MS, limitMs),
  )
  return () => clearInterval(timer)
}

/** The time that processes were ready to run and did not: for each of them, by the thread that waited most. */
class WaitedTime {
  private readonly atStartMs = new Map<string, number>()

  constructor(private readonly pid: number) {
    for (const threads of this.look()) for (const [thread, ms] of threads) this.atStartMs.set(thread, ms)
  }

  sinceStartMs(): number {
    // A request passes from one process to the next, so their waits add up.
    return this.look().reduce((sum, threads) => {
      const waits = [...threads].map(([thread, ms]) => ms - (this.atStartMs.get(thread) ?? 0))
      return sum + Math.max(0, ...waits)
    }, 0)
  }

  private look(): ReadonlyMap<string, number>[] {
    return [...new Set([this.pid, process.pid, ...children()])].map(runDelaysMs)
  }
}

/** Returns each thread's waiting time. Empty for a process that is gone, or if the kernel counts no delays. */
function runDelaysMs(pid: number): Map<string, number> {
  const delays = new Map<string, number>()
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      // Nanoseconds on a processor, nanoseconds on a run queue, time slices.
      const [, delayNs] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')
      delays.set(thread, Number(delayNs) / 1e6)
    }
  } catch {
    // A thread ended in between: skip it and look at the others next time.
  }
  return delays
}

/** Processes that this one has started. Empty if the kernel does not list them. */
function children(): number[] {
  try {
    return readdirSync('/proc/self/task').flatMap((thread) =>
      readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
  } catch {
    return []
  }
}
