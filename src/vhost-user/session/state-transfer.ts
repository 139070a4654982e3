import { fstatSync } from 'node:fs'
import { constants as os } from 'node:os'
import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import type { StateLoader, VhostUserDevice } from '../device.js'
import { mustSucceed, ProtocolError, StateError } from '../errors.js'
import type { EventLoop } from '../event-loop.js'

const { EPOLLIN, EPOLLOUT, O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY } = native.constants
const { EAGAIN } = os.errno

const READ_BYTES = 64 * 1024
/** Pieces, and the time after which no other one begins, before everything else has its turn. */
const PIECES_PER_TURN = 64
const TURN_MS = 1

/** Throws ProtocolError BAD_FDS unless `fd` is the end of a pipe, or a socket, that can be written or read. */
export function mustBePipe(fd: number, writable: boolean): void {
  const access = native.statusFlags(fd) & O_ACCMODE
  const file = fstatSync(fd)
  if (access === (writable ? O_RDONLY : O_WRONLY) || !(file.isFIFO() || file.isSocket()))
    throw new ProtocolError('BAD_FDS', 'the descriptor is not the right end of a pipe')
}

/** The state of a device on its way through a pipe, beside the message loop. */
export abstract class StateTransfer {
  /** True once it has ended, well or not. */
  over = false
  /** Why it failed. */
  failure: string | undefined
  private watched = false

  /** Takes over `fd`, which `mustBePipe` has found right. `ended` is called once. */
  protected constructor(
    protected readonly fd: number,
    private readonly loop: EventLoop,
    private readonly events: number,
    private readonly ended: (transfer: StateTransfer) => void,
    /** Receives errors that mean a bug of the device; without it, a device that returns promises fails. */
    private readonly failed: ((error: unknown) => void) | undefined,
  ) {}

  /** Moves pieces from now on, whenever the pipe is ready. */
  begin(): void {
    // For kernels that know no other way. The front-end shares the descriptor and can take this back.
    native.setStatusFlags(this.fd, native.statusFlags(this.fd) | O_NONBLOCK)
    this.watch()
  }

  /** Ends the transfer before its time. The device keeps what it has, or drops what came so far. */
  abort(reason: string): void {
    this.finish(reason)
  }

  /** Moves the next piece. Returns true to go on, or a promise that settles when the device can go on. */
  protected abstract move(): boolean | PromiseLike<unknown>
  protected abstract stopped(failure: string | undefined): void

  protected finish(failure: string | undefined): void {
    if (this.over) return
    this.over = true
    this.failure = failure
    this.unwatch()
    native.close(this.fd)
    this.stopped(failure)
    this.ended(this)
  }

  private readonly pump = (): void => {
    this.guarded(() => {
      const untilMs = performance.now() + TURN_MS
      for (let n = 0; n < PIECES_PER_TURN && !this.over && performance.now() < untilMs; n++) {
        const moved = this.move()
        if (typeof moved !== 'boolean') this.await(moved)
        if (moved !== true) return
      }
    })
  }

  private await(promise: PromiseLike<unknown>): void {
    if (this.failed === undefined)
      throw new TypeError(
        'a state that comes in promises needs a back-end on Node’s event loop, see listen()',
      )
    this.unwatch()
    promise.then(
      () => {
        if (!this.over) this.watch()
      },
      (error) => {
        try {
          this.guarded(() => {
            throw error
          })
        } catch (bug) {
          this.failed?.(bug)
        }
      },
    )
  }

  /** A device's refusal ends the transfer. Any other error is a bug. */
  private guarded(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.finish(error instanceof StateError ? error.message : 'the device failed')
      if (!(error instanceof StateError)) throw error
    }
  }

  private watch(): void {
    if (this.watched) return
    this.watched = true
    mustSucceed('epoll_ctl', this.loop.add(this.fd, this.events, this.pump))
  }

  private unwatch(): void {
    if (this.watched) this.loop.remove(this.fd)
    this.watched = false
  }
}

/** Writes the state of a device. Closing the descriptor is the end mark. */
export class SavedState extends StateTransfer {
  private readonly pieces: Iterator<Uint8Array> | AsyncIterator<Uint8Array>
  private piece: Uint8Array = new Uint8Array(0)
  private at = 0

  constructor(
    fd: number,
    device: Required<Pick<VhostUserDevice, 'saveState'>>,
    loop: EventLoop,
    ended: (transfer: StateTransfer) => void,
    failed: ((error: unknown) => void) | undefined,
  ) {
    super(fd, loop, EPOLLOUT, ended, failed)
    const state = device.saveState()
    this.pieces = Symbol.iterator in state ? state[Symbol.iterator]() : state[Symbol.asyncIterator]()
  }

  protected move(): boolean | PromiseLike<unknown> {
    if (this.at < this.piece.length) return this.write()
    const next = this.pieces.next()
    if ('then' in next) return next.then((result) => this.take(result))
    this.take(next)
    return true
  }

  protected stopped(failure: string | undefined): void {
    // Lets a generator clean up.
    if (failure !== undefined) this.pieces.return?.()
  }

  private take({ done, value }: IteratorResult<Uint8Array>): void {
    if (this.over) return
    if (done === true) {
      this.finish(undefined)
      return
    }
    this.piece = value
    this.at = 0
  }

  /** Returns false if the pipe is full. */
  private write(): boolean {
    const written = native.writeNow(this.fd, this.piece, this.at)
    if (written === -EAGAIN) return false
    if (written < 0) throw new StateError(`the front-end takes no more: errno ${-written}`)
    this.at += written
    return true
  }
}

/** Reads the state of a device up to the end of the pipe. */
export class LoadedState extends StateTransfer {
  private readonly loader: StateLoader
  private readonly buffer = new Uint8Array(READ_BYTES)

  constructor(
    fd: number,
    device: Required<Pick<VhostUserDevice, 'loadState'>>,
    loop: EventLoop,
    ended: (transfer: StateTransfer) => void,
    failed: ((error: unknown) => void) | undefined,
  ) {
    super(fd, loop, EPOLLIN, ended, failed)
    this.loader = device.loadState()
  }

  protected move(): boolean | PromiseLike<unknown> {
    const got = this.read()
    if (got < 0) return false
    if (got > 0) return this.loader.write(this.buffer.subarray(0, got)) ?? true
    const end = this.loader.end()
    if (end === undefined) this.finish(undefined)
    else return end.then(() => this.finish(undefined))
    return false
  }

  protected stopped(failure: string | undefined): void {
    if (failure !== undefined) this.loader.abort()
  }

  /** Returns bytes read, 0 at the end, or -1 if there is nothing to read yet. */
  private read(): number {
    const got = native.readNow(this.fd, this.buffer)
    if (got === -EAGAIN) return -1
    if (got < 0) throw new StateError(`the pipe cannot be read: errno ${-got}`)
    return got
  }
}
