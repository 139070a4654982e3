import { setTimeout as sleep } from 'node:timers/promises'
import type { EventLoop, FaultLog, Listener } from 'vhost-user-ts'
import { EAGAIN, errnoName } from 'virtio-fs-ts/protocol'
import { closeDescriptor } from '../passthrough/descriptors.js'

/** The pause after an accept that failed. */
const AGAIN_MS = 100
/** Nobody wakes up who waits for this word. */
const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

/** Blocks the thread for `ms`, or for ever. */
export function blockThread(ms?: number): void {
  Atomics.wait(never, 0, 0, ms)
}

/** The front-ends that connect to the socket of one share. */
export class Arrivals {
  /** A front-end that was accepted and is not served yet, or a negative errno. */
  private arriving = -EAGAIN
  private isClosed = false
  /** Begins to wait for a front-end again. Undefined while nobody waits for one. */
  private again: (() => void) | undefined
  /** Ends the wait in Node's loop. */
  private stop: (() => void) | undefined

  constructor(
    private readonly loop: EventLoop,
    private readonly faults: FaultLog,
  ) {}

  /** True if a front-end was accepted that is not served yet. */
  get hasOne(): boolean {
    return this.arriving >= 0
  }

  /** Looks at the socket again, if somebody waits for a front-end: another process had it meanwhile. */
  listenAgain(): void {
    this.again?.()
  }

  /** From now on, who connects is sent away: nobody would serve it. */
  close(): void {
    this.isClosed = true
  }

  /** Ends the wait in Node's loop. */
  stopWaiting(): void {
    this.stop?.()
  }

  /** Waits for the next front-end, and runs the loop's handlers meanwhile. Returns its socket, or -EAGAIN when closed. */
  accept(listener: Listener): number {
    const { loop } = this
    this.arriving = -EAGAIN
    this.again = () => {
      loop.remove(listener.fd)
      loop.addReadable(listener.fd, () => {
        if (this.arriving < 0) this.arriving = listener.accept()
      })
    }
    this.again()
    while (this.arriving < 0 && !this.isClosed) {
      loop.wait(-1)
      if (this.arriving < 0 && this.arriving !== -EAGAIN && !this.isClosed) {
        this.reportFailure(this.arriving)
        blockThread(AGAIN_MS)
      }
    }
    loop.remove(listener.fd)
    this.again = undefined
    const fd = this.arriving
    this.arriving = -EAGAIN
    return this.unlessClosed(fd)
  }

  /** Waits in the same way while Node's own loop runs. `turn` handles what is ready. */
  async acceptFromNode(listener: Listener, turn: () => void): Promise<number> {
    for (;;) {
      const fd = await this.nextFromNode(listener, turn)
      if (fd >= 0 || this.isClosed) return this.unlessClosed(fd)
      if (fd === -EAGAIN) continue
      this.reportFailure(fd)
      await sleep(AGAIN_MS)
    }
  }

  private nextFromNode(listener: Listener, turn: () => void): Promise<number> {
    const { loop } = this
    return new Promise((resolve) => {
      const unwatch = loop.watch(turn)
      const end = (accepted: number) => {
        unwatch()
        loop.remove(listener.fd)
        this.stop = undefined
        this.again = undefined
        resolve(accepted)
      }
      this.stop = () => end(-EAGAIN)
      this.again = () => {
        loop.remove(listener.fd)
        loop.addReadable(listener.fd, () => end(listener.accept()))
      }
      this.again()
    })
  }

  /** The front-end still waits: it is tried again, since the host may have free descriptors or memory by then. */
  private reportFailure(error: number): void {
    this.faults.warn('front-end cannot be accepted', { error: errnoName(-error) })
  }

  private unlessClosed(fd: number): number {
    if (!this.isClosed || fd < 0) return fd
    closeDescriptor(fd)
    return -EAGAIN
  }
}
