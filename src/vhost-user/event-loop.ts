import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'

const EVENTS_PER_WAIT = 64

/**
 * Descriptors with handlers, and two ways to poll them: a blocking `wait`, or Node's own loop (`watch`). Each thread
 * has one.
 */
export class EventLoop {
  private readonly epollFd = mustSucceed('epoll_create1', native.epollCreate())
  private readonly handlers = new Map<number, (events: number) => void>()
  private readonly tags = new Map<number, number>()
  private readonly ready = new Uint32Array(2 * EVENTS_PER_WAIT)
  private nextTag = 1
  /** The number of calls of `wait`. State that a front-end may change is checked once between two waits. */
  waits = 0

  /** Calls `handler` from `wait` while `fd` is ready. Returns a negative errno if epoll refuses the descriptor. */
  add(fd: number, events: number, handler: (events: number) => void): number {
    // A tag is never reused, so an event fetched for a descriptor that was just removed finds no handler.
    const tag = this.nextTag++
    const result = native.epollAdd(this.epollFd, fd, events >>> 0, tag)
    if (result < 0) return result
    this.tags.set(fd, tag)
    this.handlers.set(tag, handler)
    return 0
  }

  /** Calls `handler` from `wait` while `fd` is readable or at its end. Returns a negative errno as `add` does. */
  addReadable(fd: number, handler: () => void): number {
    return this.add(fd, native.constants.EPOLLIN, handler)
  }

  /** Removes a descriptor. Call it before closing `fd`. */
  remove(fd: number): void {
    const tag = this.tags.get(fd)
    if (tag === undefined) return
    native.epollDelete(this.epollFd, fd)
    this.tags.delete(fd)
    this.handlers.delete(tag)
  }

  /** Waits up to `timeoutMs` (-1: for ever) and calls the handlers of ready descriptors. */
  wait(timeoutMs: number): void {
    this.waits++
    const count = native.epollWait(this.epollFd, timeoutMs, this.ready)
    for (let n = 0; n < count; n++) this.handlers.get(this.ready[2 * n])?.(this.ready[2 * n + 1])
  }

  /**
   * Calls `turn` from Node's own event loop whenever a descriptor is ready; `turn` must call `wait(0)`. Keeps Node's
   * loop alive. Returns a function that ends this; call it before `close`.
   */
  watch(turn: () => void): () => void {
    const watcher = mustSucceed('uv_poll_start', native.pollStart(this.epollFd, turn))
    return () => {
      native.pollStop(watcher)
    }
  }

  close(): void {
    native.close(this.epollFd)
  }
}
