import { constants as os } from 'node:os'
import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import { StateError } from '../errors.js'
import { EventLoop } from '../event-loop.js'

/** SCM_MAX_FD: no message carries more descriptors. */
const FDS_PER_PACKET = 253
/** A packet is one byte for its kind, and this much at most. */
const MAX_PACKET_BYTES = 96 * 1024
const { EAGAIN, ECONNRESET, EPIPE } = os.errno
/** Too many descriptors are on their way. Node does not name it. */
const ETOOMANYREFS = 109
/** The pause while too many descriptors are on their way. */
const PAUSE_MS = 1

const BYTES = 1
const FDS = 2
const END = 3

const noFds = new Int32Array(0)
const never = new Int32Array(new SharedArrayBuffer(4))

/** The other process has ended, or takes nothing any more. */
export class ReceiverGone extends StateError {}

/**
 * Sends bytes and descriptors to another process, over a connected socket that keeps the bounds of messages. The caller
 * keeps the socket and the descriptors. Throws ReceiverGone, or another StateError if the other process does not read until
 * `untilMs` (of `performance.now()`).
 */
export class HandedSender {
  private readonly loop = new EventLoop()
  private readonly packet = new Uint8Array(1 + MAX_PACKET_BYTES)

  constructor(
    private readonly fd: number,
    private readonly untilMs: number,
  ) {
    this.loop.add(fd, native.constants.EPOLLOUT, () => {})
  }

  /** Descriptors arrive before the bytes that are sent after them. */
  sendFds(fds: readonly number[]): void {
    for (let at = 0; at < fds.length; at += FDS_PER_PACKET) {
      this.packet[0] = FDS
      this.send(1, Int32Array.from(fds.slice(at, at + FDS_PER_PACKET)))
    }
  }

  sendBytes(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += MAX_PACKET_BYTES) {
      const part = bytes.subarray(at, at + MAX_PACKET_BYTES)
      this.packet[0] = BYTES
      this.packet.set(part, 1)
      this.send(1 + part.length, noFds)
    }
  }

  /** Everything has been sent. */
  end(): void {
    this.packet[0] = END
    this.send(1, noFds)
  }

  close(): void {
    this.loop.close()
  }

  private send(lenBytes: number, fds: Int32Array): void {
    for (;;) {
      const { MSG_DONTWAIT } = native.constants
      const sent = native.sendMessage(this.fd, this.packet, 0, lenBytes, fds, fds.length, MSG_DONTWAIT)
      if (sent === lenBytes) return
      if (sent === -EPIPE || sent === -ECONNRESET) throw new ReceiverGone('the new process takes no state')
      if (sent !== -EAGAIN && sent !== -ETOOMANYREFS)
        throw new StateError(`the state cannot be sent: errno ${-sent}`)
      const leftMs = this.untilMs - performance.now()
      if (leftMs <= 0) throw new StateError('the new process took too long')
      if (sent === -EAGAIN) this.loop.wait(Math.ceil(leftMs))
      else Atomics.wait(never, 0, 0, PAUSE_MS)
    }
  }
}

/** Receives what a HandedSender sends. */
export class HandedReceiver {
  private readonly packet = new Uint8Array(1 + MAX_PACKET_BYTES)
  private readonly arrived = new Int32Array(1 + FDS_PER_PACKET)
  private fds: number[] = []
  private taken = 0

  /** The caller keeps `fd`. */
  constructor(private readonly fd: number) {}

  /**
   * Returns the next bytes, valid until the next call, or undefined at the end. Unless it `blocks`, it returns 'later' if none
   * have come. Throws StateError if the other process has ended before.
   */
  receive(blocks?: true): Uint8Array | undefined
  receive(blocks: boolean): Uint8Array | undefined | 'later'
  receive(blocks = true): Uint8Array | undefined | 'later' {
    const flags = blocks ? 0 : native.constants.MSG_DONTWAIT
    for (;;) {
      const got = native.receiveMessage(this.fd, this.packet, 0, this.packet.length, this.arrived, flags)
      if (got === -EAGAIN && !blocks) return 'later'
      if (got <= 0) throw new StateError('the process before has given up')
      const [kind] = this.packet
      for (let n = 1; n <= this.arrived[0]; n++) this.fds.push(this.arrived[n])
      if (kind === END) return undefined
      if (kind === BYTES) return this.packet.subarray(1, got)
    }
  }

  /** Returns the next of the descriptors that have come; the caller owns it. Throws StateError if there is none. */
  takeFd(): number {
    const fd = this.fds[this.taken]
    if (fd === undefined) throw new StateError('a descriptor is missing: this process may open fewer files')
    if (++this.taken === this.fds.length) {
      this.fds = []
      this.taken = 0
    }
    return fd
  }
}
