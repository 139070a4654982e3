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
  /** How often `wait` was called: what a front-end may have changed is looked at once between two waits. */
  waits = 0

  /** Calls `handler` from `wait` while `fd` is ready. Returns a negative errno for a descriptor that epoll refuses. */
  add(fd: number, events: number, handler: (events: number) => void): number {
    // Calls `handler` from `wait` while `fd` is ready. Returns a negative errno if epoll refuses the descriptor.
    const tag = this.nextTag++
    const result = native.epollAdd(this.epollFd, fd, events >>> 0, tag)
    if (result < 0) return result
    this.tags.set(fd, tag)
    this.handlers.set(tag, handler)
    return 0
  }

  /** Calls `handler` from `wait` while `fd` can be read from, or has ended. Returns a negative errno as `add` does. */
  addReadable(fd: number, handler: () => void): number {
    return this.add(fd, native.constants.EPOLLIN, handler)
  }

  /** Before `fd` is closed. */
  remove(fd: number): void {
    const tag = this.tags.get(fd)
    if (tag === undefined) return
    native.epollDelete(this.epollFd, fd)
    this.tags.delete(fd)
    this.handlers.delete(tag)
  }

  /** Waits up to `timeoutMs` (-1: for ever) and calls the handlers of what is ready. */
  wait(timeoutMs: number): void {
    this.waits++
    const count = native.epollWait(this.epollFd, timeoutMs, this.ready)
    for (let n = 0; n < count; n++) this.handlers.get(this.ready[2 * n])?.(this.ready[2 * n + 1])
  }

  /**
   * Calls `turn` from Node's own event loop whenever a descriptor is ready; it is to call `wait(0)`. Keeps Node's loop
   * alive. Returns what ends that, to be called before `close`.
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
