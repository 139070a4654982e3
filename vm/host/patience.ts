import { readdirSync, readFileSync } from 'node:fs'

const LOOK_EVERY_MS = 500

/**
 * Calls `late` after a process had `limitMs` to do something. Time that its threads waited for a processor does not
 * count, so that a limit means the same on a busy machine. Returns a function that cancels the call.
 */
export function whenLate(pid: number, limitMs: number, late: () => void): () => void {
  const startMs = performance.now()
  const waited = new WaitedTime(pid)
  const timer = setInterval(
    () => {
      if (performance.now() - startMs - waited.sinceStartMs() < limitMs) return
      clearInterval(timer)
      late()
    },
    Math.min(LOOK_EVERY_MS, limitMs),
  )
  return () => clearInterval(timer)
}

/** The time that a process was ready to run and did not, by the thread that waited most. */
class WaitedTime {
  private readonly atStartMs: ReadonlyMap<string, number>

  constructor(private readonly pid: number) {
    this.atStartMs = runDelaysMs(pid)
  }

  sinceStartMs(): number {
    const waits = [...runDelaysMs(this.pid)].map(([thread, ms]) => ms - (this.atStartMs.get(thread) ?? 0))
    return Math.max(0, ...waits)
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
