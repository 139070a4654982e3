import { type DeferredReply, EAGAIN } from 'virtio-fs-ts/protocol'
import type { HeldFd } from '../files/held-fd.js'

/** How soon a waiting lock is tried again, at first and at most. */
const FIRST_MS = 1
const LONGEST_MS = 50

interface Waiter {
  readonly reply: DeferredReply
  readonly file: HeldFd
  /** Tries to take the lock: 0, -EAGAIN or another negative errno. */
  readonly attempt: () => number
  dueMs: number
  pauseMs: number
}

/**
 * Locks that the guest waits for. They are tried again and again: at once when this guest has given a lock up, and in
 * growing pauses for those of others, because a thread that waits in the kernel could not be called back when the guest
 * goes away.
 */
export class LockWaiters {
  /** In the order they came. */
  private waiters: Waiter[] = []

  add(reply: DeferredReply, file: HeldFd, attempt: () => number): void {
    file.hold()
    this.waiters.push({ reply, file, attempt, dueMs: performance.now() + FIRST_MS, pauseMs: FIRST_MS })
  }

  /** Something was unlocked. */
  wake(): void {
    for (const waiter of this.waiters) waiter.dueMs = 0
  }

  /** Tries those that are due. Whether any was answered. */
  progress(): boolean {
    if (this.waiters.length === 0) return false
    const nowMs = performance.now()
    const before = this.waiters.length
    this.waiters = this.waiters.filter((waiter) => waiter.dueMs > nowMs || !this.retry(waiter, nowMs))
    return this.waiters.length < before
  }

  /** Milliseconds until one is due, -1 when there is none. */
  nextDueMs(): number {
    if (this.waiters.length === 0) return -1
    const dueMs = this.waiters.reduce(
      (least, waiter) => Math.min(least, waiter.dueMs),
      Number.POSITIVE_INFINITY,
    )
    return Math.max(0, dueMs - performance.now())
  }

  /** The guest goes away, or stops: nobody waits any more. */
  giveUp(): void {
    for (const waiter of this.waiters.splice(0)) this.answer(waiter, -EAGAIN)
  }

  /** Whether it is answered now. */
  private retry(waiter: Waiter, nowMs: number): boolean {
    const result = waiter.attempt()
    if (result === -EAGAIN) {
      waiter.pauseMs = Math.min(2 * waiter.pauseMs, LONGEST_MS)
      waiter.dueMs = nowMs + waiter.pauseMs
      return false
    }
    this.answer(waiter, result)
    return true
  }

  private answer({ reply, file }: Waiter, result: number): void {
    if (result < 0) reply.fail(result)
    else reply.succeed(0)
    file.release()
  }
}
