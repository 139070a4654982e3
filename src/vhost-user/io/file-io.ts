import * as native from 'virtiofsd-ts-native'
import type { EventLoop } from '../event-loop.js'
import type { DescriptorChain } from '../rings/descriptor-chain.js'
import { AsyncEngine, type FileIoOptions } from './async-engine.js'

const { ASYNC_FALLOCATE, ASYNC_FDATASYNC, ASYNC_FSYNC, ASYNC_SYNCFS } = native.constants

/** Bytes of a chain, and their place in a file. */
export interface Transfer {
  readonly fd: number
  readonly offsetBytes: number
  readonly lenBytes: number
  /** The first byte within the chain's writable bytes for `read`, or its readable ones for `write`. Default 0. */
  readonly skipBytes?: number
  /** RWF_* of preadv2(2). Default 0. */
  readonly flags?: number
}

/** Receives a call's result: >= 0, or a negative errno. */
export type Done = (result: number) => void

/** Starts a call under a token. Returns 0 or a negative errno. */
type Start = (token: number) => number

/**
 * Asynchronous reads and writes between files and the guest's memory, and other calls that wait for a disk. io_uring
 * or helper threads carry them out while the device goes on. A device sets it as its `io`; the back-end then starts the
 * calls, delivers results, and finishes the calls before it removes their memory.
 *
 * `read`, `write`, `fsync`, `fdatasync`, `fallocate` and `syncfs` return promises of a result: >= 0, or a negative
 * errno. Errors of a file or a guest never reject them. On a blocking back-end, where no promise settles, use
 * `startRead`, `startWrite` and `startFlush`, which call back.
 */
export class FileIo {
  /** The engine in use: "threads" if the kernel lacks io_uring or forbids it. */
  readonly engine: 'io_uring' | 'threads'
  private readonly async: AsyncEngine
  private readonly calls = new Map<number, Done>()
  private lastCall = 0
  private begun: (() => void) | undefined

  /** Throws SystemCallError. */
  constructor(options: FileIoOptions = {}) {
    this.async = new AsyncEngine(options)
    this.engine = this.async.kind
  }

  /** Fills writable bytes of `chain` from a file. Resolves to the bytes read, fewer only at the end of the file. */
  read(chain: DescriptorChain, transfer: Transfer): Promise<number> {
    return new Promise((done) => this.startRead(chain, transfer, done))
  }

  startRead(chain: DescriptorChain, transfer: Transfer, done: Done): void {
    const { fd, offsetBytes, lenBytes, skipBytes = 0, flags = 0 } = transfer
    this.transfer(lenBytes, done, (token, at) =>
      chain.startReadFromFile(token, skipBytes + at, lenBytes - at, fd, offsetBytes + at, flags),
    )
  }

  /** Writes readable bytes of `chain` to a file. Resolves to the bytes written. */
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
    return new Promise((done) =>
      this.begin((token) => native.asyncFile(ASYNC_FSYNC, token, fd, 0, 0, 0), done),
    )
  }

  fdatasync(fd: number): Promise<number> {
    return new Promise((done) => this.startFlush(fd, done))
  }

  /** `fdatasync` with a callback. */
  startFlush(fd: number, done: Done): void {
    this.begin((token) => native.asyncFile(ASYNC_FDATASYNC, token, fd, 0, 0, 0), done)
  }

  /** `mode`: FALLOC_FL_*. */
  fallocate(fd: number, mode: number, offsetBytes: number, lenBytes: number): Promise<number> {
    const start = (token: number) => native.asyncFile(ASYNC_FALLOCATE, token, fd, mode, offsetBytes, lenBytes)
    return new Promise((done) => this.begin(start, done))
  }

  syncfs(fd: number): Promise<number> {
    return new Promise((done) =>
      this.begin((token) => native.asyncFile(ASYNC_SYNCFS, token, fd, 0, 0, 0), done),
    )
  }

  /** Used by the back-end. Calls `begun` when `progress` has something to start. */
  attach(loop: EventLoop, begun: () => void): void {
    this.begun = begun
    for (const fd of this.async.fds) loop.addReadable(fd, () => {})
  }

  /** Used by the back-end. True if calls are under way, which need a processor. */
  get isWorking(): boolean {
    return this.calls.size > 0
  }

  /** Used by the back-end. True if no more may be started until a call has ended. */
  get isFull(): boolean {
    return this.calls.size >= AsyncEngine.MAX_UNDER_WAY
  }

  /** Used by the back-end. Returns the milliseconds until `progress` has work by itself, or -1 for never. */
  nextDueMs(): number {
    return this.async.nextDueMs()
  }

  /** Used by the back-end. Starts requested calls and delivers results. Returns true if there were any. */
  progress(): boolean {
    if (this.calls.size === 0) return false
    this.async.submit()
    return this.async.reap(this.deliver)
  }

  /** Used by the back-end. Returns when no call is under way any more. */
  drain(): void {
    while (this.calls.size > 0) {
      if (!this.progress()) this.async.wait(this.nextDueMs())
    }
  }

  /** Continues after a short transfer: only an empty one means the end of the file. */
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
      // An error counts only if no bytes were moved before it.
      else done(doneBytes > 0 ? doneBytes : result)
    }
    next()
  }

  private begin(start: Start, done: Done): void {
    const { begun } = this
    if (begun === undefined) throw new Error('no device that is served names this FileIo as its io')
    // A call that takes long keeps its number.
    do this.lastCall = (this.lastCall + 1) % AsyncEngine.CALLS
    while (this.calls.has(this.lastCall))
    const started = start(this.async.tokenOf(this.lastCall))
    if (started < 0) {
      done(started)
      return
    }
    this.calls.set(this.lastCall, done)
    this.async.begun()
    begun()
  }

  private readonly deliver = (call: number, result: number): void => {
    const done = this.calls.get(call)
    this.calls.delete(call)
    done?.(result)
  }
}
