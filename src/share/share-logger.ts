import { performance } from 'node:perf_hooks'
import type { Logger } from 'vhost-user-ts'
import type { LogLevel, WorkerMessage } from './worker-messages.js'

const levels: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error']

/** Returns the rank of a level, or -1 for one at which nothing is logged. */
export function levelOf(name: string): number {
  return levels.indexOf(name)
}

/** Makes a logger that sends sufficiently severe messages to the main thread. */
export function makeLogger(leastLevel: () => number, tell: (message: WorkerMessage) => void): Logger {
  const flood = new Flood()
  const at = (name: LogLevel) => {
    const level = levelOf(name)
    return (fields: object, text: string) => {
      const least = leastLevel()
      if (least < 0 || level < least) return
      if (flood.admits(text)) tell({ type: 'log', level: name, fields, text })
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

const FLOOD_INTERVAL_MS = 1000
const LINES_PER_INTERVAL = 20

/** Keeps floods of lines from the main thread, which then limits each kind. */
class Flood {
  private readonly counts = new Map<string, number>()
  private sinceMs = 0

  admits(text: string): boolean {
    const nowMs = performance.now()
    if (nowMs - this.sinceMs >= FLOOD_INTERVAL_MS) {
      this.counts.clear()
      this.sinceMs = nowMs
    }
    const count = (this.counts.get(text) ?? 0) + 1
    this.counts.set(text, count)
    return count <= LINES_PER_INTERVAL
  }
}
