import { performance } from 'node:perf_hooks'
import type { Carrier } from './request.js'

/** Pause before a request is served again: the first and the longest. */
const FIRST_MS = 1
const LONGEST_MS = 50
/** Most postponed requests, because each is tried again and again. Further ones fail at once. */
const MOST = 1024

interface Postponed {
  readonly carrier: Carrier
  /** `Request.startMs`. */
  readonly startMs: number
  dueMs: number
  pauseMs: number
}

/**
 * Requests that can only wait for time to pass: a lease on the host has to be given up. They are served again from the
 * beginning, in growing pauses.
 */
export class PostponedRequests {
  private requests: Postponed[] = []

  get count(): number {
    return this.requests.length
  }

  /** Returns false if there are too many. */
  add(carrier: Carrier, startMs: number): boolean {
    if (this.requests.length >= MOST) return false
    this.requests.push({ carrier, startMs, dueMs: performance.now() + FIRST_MS, pauseMs: FIRST_MS })
    return true
  }

  /**
   * Serves the requests that are due. `serve` returns true if a request is answered or was taken over. Returns true if that
   * was the case for any request.
   */
  progress(serve: (carrier: Carrier, startMs: number) => boolean): boolean {
    if (this.requests.length === 0) return false
    const nowMs = performance.now()
    const due = this.requests.filter(({ dueMs }) => dueMs <= nowMs)
    let served = false
    for (const request of due) {
      if (serve(request.carrier, request.startMs)) {
        this.requests = this.requests.filter((other) => other !== request)
        served = true
      } else {
        request.pauseMs = Math.min(2 * request.pauseMs, LONGEST_MS)
        request.dueMs = nowMs + request.pauseMs
      }
    }
    return served
  }

  /** Milliseconds until a request is due, or -1 if there is none. */
  nextDueMs(): number {
    if (this.requests.length === 0) return -1
    const dueMs = this.requests.reduce(
      (least, request) => Math.min(least, request.dueMs),
      Number.POSITIVE_INFINITY,
    )
    return Math.max(0, dueMs - performance.now())
  }

  /** Removes and returns all requests. */
  takeAll(): readonly Carrier[] {
    return this.requests.splice(0).map(({ carrier }) => carrier)
  }
}
