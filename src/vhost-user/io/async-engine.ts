import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from '../errors.js'

const { EPOLLIN, URING_RESULTS } = native.constants

const DEFAULT_MAX_THREADS = 8
const RESULTS_PER_REAP = 128
/** The delay before another try if the kernel takes no more and no call under way would wake this thread. */
const SUBMIT_AGAIN_MS = 10

export interface FileIoOptions {
  /** False: use helper threads alone, as without io_uring. Default true. */
  readonly uring?: boolean
  /** The most helper threads, 1 to 64, started on demand. Default 8. */
  readonly maxThreads?: number
}

/** The options of an engine. */
export interface EngineOptions extends FileIoOptions {
  /** The most threads, 0 to 64, that share reads of cached data with this one. Default 0. */
  readonly maxCopiers?: number
}

/** A token is the engine's number, then that of the call, of this many bits. */
const CALL_BITS = 20

/** Takes the result of a call, by its number: >= 0, or a negative errno. */
export type Deliver = (call: number, result: number) => void

/**
 * An engine of this thread for system calls that wait: io_uring, and helper threads for what it does not do. Calls begin
 * with `async...` of the addon or with `start...` of a chain, under a token of this engine.
 */
export class AsyncEngine {
  /** The calls that may be under way: half of the room for results, so that one more batch also fits. */
  static readonly MAX_UNDER_WAY = URING_RESULTS / 2
  /** The numbers of calls are below this. */
  static readonly CALLS = 2 ** CALL_BITS
  /** "threads" if the kernel lacks io_uring or forbids it. */
  readonly kind: 'io_uring' | 'threads'
  /** Readable when results have arrived. */
  readonly fds: readonly number[]
  private readonly id: number
  private readonly epollFd: number
  private readonly results = new Int32Array(2 * RESULTS_PER_REAP)
  private readonly events = new Uint32Array(2)
  private unsubmitted = false

  /** Throws SystemCallError. */
  constructor({ uring = true, maxThreads = DEFAULT_MAX_THREADS, maxCopiers = 0 }: EngineOptions = {}) {
    this.id = mustSucceed(
      'an engine for system calls',
      native.asyncCreate(uring ? 1 : 0, maxThreads, maxCopiers),
    )
    const { id } = this
    const uringFd = native.asyncUringFd(id)
    this.kind = uringFd >= 0 ? 'io_uring' : 'threads'
    this.fds = [native.asyncPoolFd(id), uringFd, native.asyncCopierFd(id)].filter((fd) => fd >= 0)
    this.epollFd = mustSucceed('epoll_create1', native.epollCreate())
    for (const fd of this.fds) native.epollAdd(this.epollFd, fd, EPOLLIN, 0)
  }

  /** Call it when nothing is under way, and no loop waits for `fds`. */
  close(): void {
    native.close(this.epollFd)
    native.asyncDestroy(this.id)
  }

  /** The token under which the call of this number begins. */
  tokenOf(call: number): number {
    return this.id * AsyncEngine.CALLS + call
  }

  /** Cancels calls of one kind, or all with 255: see asyncCancel. */
  cancel(kind: number): void {
    native.asyncCancel(this.id, kind)
  }

  /** A call has begun: the next `submit` hands it to the kernel. */
  begun(): void {
    this.unsubmitted = true
  }

  /** Hands calls that have begun to the kernel, all of a batch at once. */
  submit(): void {
    if (this.unsubmitted) this.unsubmitted = mustSucceed('io_uring_enter', native.asyncSubmit(this.id)) > 0
  }

  /** Delivers results that have arrived. Returns false if there are none. */
  reap(deliver: Deliver): boolean {
    const { results } = this
    const count = native.asyncReap(this.id, results)
    for (let n = 0; n < count; n++) deliver(results[2 * n] & (AsyncEngine.CALLS - 1), results[2 * n + 1])
    return count > 0
  }

  /** Carries out a read of cached data that no other thread has begun. Returns false if there is none. */
  help(): boolean {
    return native.asyncHelp(this.id) === 1
  }

  /** Waits for results. -1: for as long as it takes. */
  wait(timeoutMs: number): void {
    native.epollWait(this.epollFd, timeoutMs, this.events)
  }

  /** Milliseconds until `submit` has work without an event, or -1 for never. */
  nextDueMs(): number {
    return this.unsubmitted ? SUBMIT_AGAIN_MS : -1
  }
}
