import type { Carrier, Request } from './request.js'

/**
 * Decides when a request may run. A session asks it before each operation, after the request has been checked. Requests
 * that have to wait stay here, and the session serves them later.
 */
export interface Gate {
  /**
   * Returns true if the request may run now; otherwise keeps its carrier. `isDue`: it has waited here, and must not wait
   * again. May shorten the request in its copied arguments.
   */
  admit(request: Request, isDue: boolean): boolean
  /**
   * Passes the carriers that may run now to `serve`. Returns true if there were any. `nowMs` is the time, for the requests
   * of the next batch, too.
   */
  progress(nowMs: number, serve: (carrier: Carrier, sinceMs: number) => void): boolean
  /** Milliseconds until `progress` has work, or -1 for never. */
  nextDueMs(): number
  /** Passes every carrier to `serve`, because the rings stop. */
  drain(serve: (carrier: Carrier, sinceMs: number) => void): void
  /** Forgets every carrier. */
  forget(): void
  /** The number of requests that wait. */
  readonly count: number
}
