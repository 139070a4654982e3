import * as native from 'virtiofsd-ts-native'
import type { DescriptorChain } from './descriptor-chain.js'
import { mustSucceed } from './errors.js'
import type { EventLoop } from './event-loop.js'

const { EPOLLIN } = native.constants

const DEFAULT_MAX_THREADS = 8
const RESULTS_PER_REAP = 128
/** Half of what io_uring's completion queue holds (native/src/uring.c): a batch more fits, too. */
const MAX_UNDER_WAY = 4096
/** When the kernel takes no more for now, and nothing is under way that would wake us. */
const SUBMIT_AGAIN_MS = 10

/** Kinds of asyncFile. */
const FSYNC = 2
const FDATASYNC = 3
const FALLOCATE = 4
const SYNCFS = 6

export interface FileIoOptions {
  /** False: helper threads alone, as where the kernel has no io_uring or forbids it. Default true. */
  readonly uring?: boolean
  /** Helper threads at most, 1 to 64, started when there is work for them. Default 8. */
  readonly maxThreads?: number
}

/** Bytes of a chain, and their place in a file. */
export interface Transfer {
  readonly fd: number
  readonly offsetBytes: number
  readonly lenBytes: number
  /** Where the bytes begin: in the chain's writable bytes for `read`, in its readable ones for `write`. Default 0. */
  readonly skipBytes?: number
  /** RWF_* of preadv2(2). Default 0. */
  readonly flags?: number
}

/** Takes a call's result: >= 0, or a negative errno. */
export type Done = (result: number) => void

/** Starts a call under a token. Returns 0 or a negative errno. */
type Start = (token: number) => number

/**
 * Reads and writes between files and the guest's memory, and other calls that wait for a disk, carried out by io_uring or
 * by helper threads while the device goes on. One a thread. A device names it as its `io`, and the back-end does the
 * rest: it starts what was asked for, delivers results, and lets nothing be under way in memory that goes.
 *
 * `read`, `write`, `fsync`, `fdatasync`, `fallocate` and `syncfs` promise their result: >= 0, or a negative errno. They do
 * not reject for what a file or a guest does. On a blocking back-end, where no promise settles, `startRead`, `startWrite`
 * and `startFlush` call back.
 */
export class FileIo {
  /** Who waits for the disk: "threads" where the kernel has no io_uring, or forbids it. */
  readonly engine: 'io_uring' | 'threads'
  private readonly fds: readonly number[]
  private readonly epollFd: number
  private readonly calls = new Map<number, Done>()
  private readonly results = new Int32Array(2 * RESULTS_PER_REAP)
  private readonly events = new Uint32Array(2)
  private lastToken = 0
  private unsubmitted = false
  private begun: (() => void) | undefined

  /** Throws SystemCallError EBUSY when this thread has an engine already. */
  constructor({ uring = true, maxThreads = DEFAULT_MAX_THREADS }: FileIoOptions = {}) {
    const made = mustSucceed('an engine for this thread', native.asyncCreate(uring ? 1 : 0, maxThreads))
    this.engine = made === 1 ? 'io_uring' : 'threads'
    this.fds = made === 1 ? [native.asyncPoolFd(), native.asyncUringFd()] : [native.asyncPoolFd()]
    this.epollFd = mustSucceed('epoll_create1', native.epollCreate())
    for (const fd of this.fds) native.epollAdd(this.epollFd, fd, EPOLLIN, 0)
  }

  /** Fills writable bytes of `chain` from a file. Results in the bytes read: fewer only at the end of the file. */
  read(chain: DescriptorChain, transfer: Transfer): Promise<number> {
    return new Promise((done) => this.startRead(chain, transfer, done))
  }

  startRead(chain: DescriptorChain, transfer: Transfer, done: Done): void {
    const { fd, offsetBytes, lenBytes, skipBytes = 0, flags = 0 } = transfer
    this.transfer(lenBytes, done, (token, at) =>
      chain.startReadFromFile(token, skipBytes + at, lenBytes - at, fd, offsetBytes + at, flags),
    )
  }

  /** Writes readable bytes of `chain` to a file. Results in the bytes written. */
  write(chain: DescriptorChain, transfer: Transfer): Promise<number> {
    return new Promise((done) => this.startWrite(chain, transfer, done))
  }

  startWrite(chain: DescriptorChain, transfer: Transfer, done: Done): void {
    const { fd, offsetBytes, lenBytes, skipBytes = 0, flags = 0 } = transfer
    this.transfer(lenBytes, done, (token, at) =>
      chain.startWriteToFile(token, skipBytes + at, lenBytes - at, fd, offsetBytes + at, flags),
    )
  }

  fsync(fd: number): Promise<number> {
    return new Promise((done) => this.begin((token) => native.asyncFile(FSYNC, token, fd, 0, 0, 0), done))
  }

  fdatasync(fd: number): Promise<number> {
    return new Promise((done) => this.startFlush(fd, done))
  }

  /** `fdatasync` with a callback. */
  startFlush(fd: number, done: Done): void {
    this.begin((token) => native.asyncFile(FDATASYNC, token, fd, 0, 0, 0), done)
  }

  /** `mode`: FALLOC_FL_*. */
  fallocate(fd: number, mode: number, offsetBytes: number, lenBytes: number): Promise<number> {
    const start = (token: number) => native.asyncFile(FALLOCATE, token, fd, mode, offsetBytes, lenBytes)
    return new Promise((done) => this.begin(start, done))
  }

  syncfs(fd: number): Promise<number> {
    return new Promise((done) => this.begin((token) => native.asyncFile(SYNCFS, token, fd, 0, 0, 0), done))
  }

  /** For the back-end: `begun` is called when `progress` has something to start. */
  attach(loop: EventLoop, begun: () => void): void {
    this.begun = begun
    for (const fd of this.fds) loop.addReadable(fd, () => {})
  }

  /** For the back-end: calls are under way, and want a processor. */
  get isWorking(): boolean {
    return this.calls.size > 0
  }

  /** For the back-end: no more is to be begun until something has ended. */
  get isFull(): boolean {
    return this.calls.size >= MAX_UNDER_WAY
  }

  /** For the back-end: milliseconds until `progress` has something to do by itself, -1 for never. */
  nextDueMs(): number {
    return this.unsubmitted ? SUBMIT_AGAIN_MS : -1
  }

  /** For the back-end: starts what was asked for, and delivers results. Returns true if there were any. */
  progress(): boolean {
    if (this.calls.size === 0) return false
    this.submit()
    const count = native.asyncReap(this.results)
    for (let n = 0; n < count; n++) this.deliver(this.results[2 * n] >>> 0, this.results[2 * n + 1])
    return count > 0
  }

  /** For the back-end: returns when nothing is under way any more. */
  drain(): void {
    while (this.calls.size > 0) {
      if (!this.progress()) native.epollWait(this.epollFd, this.nextDueMs(), this.events)
    }
  }

  /** A short transfer is not the end of a file: only one of nothing is. */
  private transfer(
    lenBytes: number,
    done: Done,
    startAt: (token: number, doneBytes: number) => number,
  ): void {
    let doneBytes = 0
    const next = () => this.begin((token) => startAt(token, doneBytes), arrived)
    const arrived = (result: number) => {
      if (result > 0) doneBytes += result
      if (result > 0 && doneBytes < lenBytes) next()
      // An error counts only when nothing was done before it.
      else done(doneBytes > 0 ? doneBytes : result)
    }
    next()
  }

  private begin(start: Start, done: Done): void {
    const { begun } = this
    if (begun === undefined) throw new Error('no device that is served names this FileIo as its io')
    this.lastToken = (this.lastToken + 1) >>> 0
    const started = start(this.lastToken)
    if (started < 0) {
      done(started)
      return
    }
    this.calls.set(this.lastToken, done)
    this.unsubmitted = true
    begun()
  }

  private submit(): void {
    if (!this.unsubmitted) return
    this.unsubmitted = mustSucceed('io_uring_enter', native.asyncSubmit()) > 0
  }

  private deliver(token: number, result: number): void {
    const done = this.calls.get(token)
    this.calls.delete(token)
    done?.(result)
  }
}
