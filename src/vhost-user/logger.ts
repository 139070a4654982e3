/** The logger that this package expects; a pino logger fits. Guest data goes into fields only. */
import { performance } from 'node:perf_hooks'
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

const nothing = () => {}

export const silentLogger: Logger = Object.freeze({
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
})

const INTERVAL_MS = 1000

/**
 * Limits warnings that a guest or a front-end can cause at will: one per second for each kind, with the number left
 * out since the last. `kind` comes from a fixed set.
 */
export class FaultLog {
  private readonly kinds = new Map<string, { sinceMs: number; left: number }>()

  constructor(private readonly log: Logger) {}

  warn(kind: string, fields: object): void {
    const nowMs = performance.now()
    const state = this.kinds.get(kind)
    if (state !== undefined && nowMs - state.sinceMs < INTERVAL_MS) {
      state.left++
      return
    }
    this.log.warn(state?.left ? { ...fields, leftOut: state.left } : fields, kind)
    this.kinds.set(kind, { sinceMs: nowMs, left: 0 })
  }
}
