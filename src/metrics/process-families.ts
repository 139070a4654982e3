import { openSync, readSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Family } from './exposition.js'

const PAGE_BYTES = 4096
const MICROSECONDS = 1_000_000

/** Figures of this process. Make it while /proc is in reach: a confined process reads its memory from an open file. */
export class ProcessFamilies {
  private readonly statmFd: number | undefined
  private readonly startSeconds = performance.timeOrigin / 1000

  constructor(private readonly version: string) {
    try {
      this.statmFd = openSync('/proc/self/statm', 'r')
    } catch {
      // Without /proc the figure is left out.
    }
  }

  families(): readonly Family[] {
    const { user, system } = process.cpuUsage()
    const resident = this.residentBytes()
    const one = (name: string, type: 'counter' | 'gauge', help: string, value: number): Family => ({
      name,
      type,
      help,
      samples: [{ labels: {}, value }],
    })
    return [
      {
        name: 'virtiofsd_ts_build_info',
        type: 'gauge',
        help: 'The program; always 1.',
        samples: [{ labels: { version: this.version, node: process.version }, value: 1 }],
      },
      one('process_start_time_seconds', 'gauge', 'Start of the process since the epoch.', this.startSeconds),
      one('process_cpu_seconds', 'counter', 'Processor time of all threads.', (user + system) / MICROSECONDS),
      ...(resident === undefined
        ? []
        : [one('process_resident_memory_bytes', 'gauge', 'Memory that the process occupies.', resident)]),
      one(
        'nodejs_main_heap_bytes',
        'gauge',
        "JavaScript's heap of the main thread.",
        getHeapStatistics().used_heap_size,
      ),
    ]
  }

  /** The second number of statm, in pages: see proc_pid_statm(5). */
  private residentBytes(): number | undefined {
    if (this.statmFd === undefined) return undefined
    const text = Buffer.alloc(128)
    const lenBytes = readSync(this.statmFd, text, 0, text.length, 0)
    const pages = Number(text.toString('latin1', 0, lenBytes).split(' ')[1])
    return pages > 0 ? pages * PAGE_BYTES : undefined
  }
}
