import { type DeferredReply, EAGAIN, ECANCELED, ETIMEDOUT } from 'virtio-fs-ts/protocol'
import type { HeldFd } from './files/held-fd.js'
import type { MemoryAccount } from './memory-account.js'

/** How soon a request is tried again, at first and at most. */
const FIRST_MS = 1
const LONGEST_MS = 50
/** Tried in one turn; the rings have theirs before the others are tried. */
const TRIES_PER_TURN = 256
/** What a request that waits takes of memory, about. The account ends before trying them all keeps this thread busy. */
const BYTES_EACH = 512

/** What an attempt returns when only this guest can change its outcome, and `wake` will be called when it does. */
export const UNTIL_WOKEN = -1004

/** A request that cannot be carried out yet. */
export interface Wait {
  /** Returns the bytes of the reply, -EAGAIN or UNTIL_WOKEN if it has to wait on, or another negative errno. */
  readonly attempt: () => number
  /** The handle that it needs. Its release ends the wait. */
  readonly file?: HeldFd
  /** How long it may wait, in milliseconds; then it fails with ETIMEDOUT. */
  readonly timeoutMs?: number
  /** The error that it fails with when the rings stop. */
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

/** A request that waits, for reports. */
export interface WaitReport<W extends Wait> {
  readonly id: number
  readonly wait: W
  readonly waitedMs: number
}

/**
 * Requests that wait for somebody: a lock that is held, a lease that has to be given up. They are tried again and again: at
 * once when this guest has changed something, and in growing pauses for what others do, because a thread that waits in the
 * kernel could not be called back when the guest goes away.
 */
export class WaitingRequests<W extends Wait> {
  /** In the order they came. */
  private waiters: Waiter<W>[] = []
  private nextId = 1

  constructor(private readonly memory: MemoryAccount) {}

  /** Returns true if one more may wait. To be asked before a request is deferred. */
  get hasRoom(): boolean {
    return this.memory.hasRoom('waiting', BYTES_EACH)
  }

  add(reply: DeferredReply, wait: W): void {
    this.memory.add('waiting', BYTES_EACH)
    wait.file?.hold()
    const sinceMs = performance.now()
    const endMs = sinceMs + (wait.timeoutMs ?? Number.POSITIVE_INFINITY)
    const dueMs = sinceMs + FIRST_MS
    this.waiters.push({ id: this.nextId++, wait, reply, sinceMs, endMs, dueMs, pauseMs: FIRST_MS })
  }

  /** Something that requests wait for has changed. */
  wake(): void {
    for (const waiter of this.waiters) waiter.dueMs = 0
  }

  /** Tries those that are due. Returns true if any was answered. */
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

  /** Milliseconds until one is due, -1 when none is by itself. */
  nextDueMs(): number {
    let leastMs = Number.POSITIVE_INFINITY
    for (const { dueMs, endMs } of this.waiters) leastMs = Math.min(leastMs, dueMs, endMs)
    return leastMs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, leastMs - performance.now())
  }

  report(): WaitReport<W>[] {
    const nowMs = performance.now()
    return this.waiters.map(({ id, wait, sinceMs }) => ({ id, wait, waitedMs: nowMs - sinceMs }))
  }

  /** The guest goes away, or its rings stop: nobody waits any more. */
  stop(): void {
    this.end(
      () => true,
      ({ stopError }) => -stopError,
    )
  }

  /** A handle goes. */
  released(file: HeldFd, error: number): void {
    if (this.waiters.some(({ wait }) => wait.file === file))
      this.end(
        ({ wait }) => wait.file === file,
        () => -error,
      )
  }

  /** Somebody on the host wants these to end. Returns how many did. */
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

  /** Returns true if it is answered now. */
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
    this.memory.add('waiting', -BYTES_EACH)
    wait.file?.release()
  }
}
