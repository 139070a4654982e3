import { performance } from 'node:perf_hooks'
import { type DeferredReply, EAGAIN, ECANCELED, ETIMEDOUT } from 'virtio-fs-ts/protocol'
import type { HeldFd } from './files/held-fd.js'
import type { MemoryAccount } from './memory-account.js'

/** Pause before a request is tried again: the first and the longest. */
const FIRST_MS = 1
const LONGEST_MS = 50
/** Most tries per turn. The rings get their turn before the others are tried. */
const TRIES_PER_TURN = 256
/** Approximate memory of a waiting request. The limit is reached before trying them all keeps this thread busy. */
const BYTES_EACH = 512

/** Result of an attempt whose outcome only this guest can change. `wake` is then called on each change. */
export const UNTIL_WOKEN = -1004

/** A request that cannot be carried out yet. */
export interface Wait {
  /** Returns the bytes of the reply, -EAGAIN or UNTIL_WOKEN to keep waiting, or another negative errno. */
  readonly attempt: () => number
  /** The handle that the request needs. Its release ends the wait. */
  readonly file?: HeldFd
  /** The longest wait in milliseconds. Then the request fails with ETIMEDOUT. */
  readonly timeoutMs?: number
  /** The request's error when the rings stop. */
  readonly stopError: number
}

interface Waiter<W extends Wait> {
  readonly id: number
  readonly wait: W
  readonly reply: DeferredReply
  readonly sinceMs: number
  readonly endMs: number
  dueMs: number
  pauseMs: number
}

/** A waiting request, for reports. */
export interface WaitReport<W extends Wait> {
  readonly id: number
  readonly wait: W
  readonly waitedMs: number
}

/**
 * Requests that wait for a lock or a lease to be given up. This thread tries them again and again: at once after a change
 * by this guest, and in growing pauses otherwise. It does not wait in the kernel, because it must react when the guest goes
 * away.
 */
export class WaitingRequests<W extends Wait> {
  /** In order of arrival. */
  private waiters: Waiter<W>[] = []
  private nextId = 1

  constructor(private readonly memory: MemoryAccount) {}

  /** Returns true if one more request may wait. Check it before a request is deferred. */
  get hasRoom(): boolean {
    return this.memory.hasRoom('waiting', BYTES_EACH)
  }

  get count(): number {
    return this.waiters.length
  }

  add(reply: DeferredReply, wait: W): void {
    this.memory.add('waiting', BYTES_EACH)
    wait.file?.hold()
    const sinceMs = performance.now()
    const endMs = sinceMs + (wait.timeoutMs ?? Number.POSITIVE_INFINITY)
    const dueMs = sinceMs + FIRST_MS
    this.waiters.push({ id: this.nextId++, wait, reply, sinceMs, endMs, dueMs, pauseMs: FIRST_MS })
  }

  /** Call this after a change that requests wait for. */
  wake(): void {
    for (const waiter of this.waiters) waiter.dueMs = 0
  }

  /** Tries the requests that are due. Returns true if any was answered. */
  progress(): boolean {
    if (this.waiters.length === 0) return false
    const nowMs = performance.now()
    const before = this.waiters.length
    let tries = 0
    this.waiters = this.waiters.filter((waiter) => {
      if (Math.min(waiter.dueMs, waiter.endMs) > nowMs || tries >= TRIES_PER_TURN) return true
      tries++
      return !this.retry(waiter, nowMs)
    })
    return this.waiters.length < before
  }

  /** Milliseconds until a request is due, or -1 if none is due without a change. */
  nextDueMs(): number {
    let leastMs = Number.POSITIVE_INFINITY
    for (const { dueMs, endMs } of this.waiters) leastMs = Math.min(leastMs, dueMs, endMs)
    return leastMs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, leastMs - performance.now())
  }

  *waits(): Generator<W> {
    for (const { wait } of this.waiters) yield wait
  }

  report(): WaitReport<W>[] {
    const nowMs = performance.now()
    return this.waiters.map(({ id, wait, sinceMs }) => ({ id, wait, waitedMs: nowMs - sinceMs }))
  }

  /** Ends all waits: the guest goes away, or its rings stop. */
  stop(): void {
    this.end(
      () => true,
      ({ stopError }) => -stopError,
    )
  }

  /** Forgets all requests, which are served again from their beginning. */
  forget(): void {
    for (const waiter of this.waiters.splice(0)) {
      waiter.reply.forget()
      this.leave(waiter.wait)
    }
  }

  /** Ends the waits for a handle that is released. */
  released(file: HeldFd, error: number): void {
    if (this.waiters.some(({ wait }) => wait.file === file))
      this.end(
        ({ wait }) => wait.file === file,
        () => -error,
      )
  }

  /** Ends waits for an operator on the host. Returns the count. */
  cancel(which: (id: number) => boolean): number {
    return this.end(
      ({ id }) => which(id),
      () => -ECANCELED,
    )
  }

  private end(which: (waiter: Waiter<W>) => boolean, resultOf: (wait: W) => number): number {
    const ended = this.waiters.filter(which)
    this.waiters = this.waiters.filter((waiter) => !which(waiter))
    for (const waiter of ended) this.answer(waiter, resultOf(waiter.wait))
    return ended.length
  }

  /** Tries a request. Returns true if it is now answered. */
  private retry(waiter: Waiter<W>, nowMs: number): boolean {
    const result = waiter.wait.attempt()
    if (result !== -EAGAIN && result !== UNTIL_WOKEN) {
      this.answer(waiter, result)
      return true
    }
    if (nowMs >= waiter.endMs) {
      this.answer(waiter, -ETIMEDOUT)
      return true
    }
    waiter.pauseMs = Math.min(2 * waiter.pauseMs, LONGEST_MS)
    waiter.dueMs = result === UNTIL_WOKEN ? Number.POSITIVE_INFINITY : nowMs + waiter.pauseMs
    return false
  }

  private answer({ reply, wait }: Waiter<W>, result: number): void {
    if (result < 0) reply.fail(result)
    else reply.succeed(result)
    this.leave(wait)
  }

  private leave({ file }: Wait): void {
    this.memory.add('waiting', -BYTES_EACH)
    file?.release()
  }
}
