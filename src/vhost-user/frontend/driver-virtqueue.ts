import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed, ProtocolError } from '../errors.js'
import { EventLoop } from '../event-loop.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import {
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_USED_F_NO_NOTIFY,
} from '../protocol.js'
import { availBytes, descBytes, type RingLayout, usedBytes } from '../rings/ring-layout.js'

/** A piece of guest memory that belongs to a request. */
export interface Buffer {
  readonly gpa: number
  readonly lenBytes: number
}

/** A request that the device has completed. */
export interface Used {
  readonly head: number
  /** The number of bytes the device claims to have written. */
  readonly writtenBytes: number
}

/**
 * The driver's side of a split virtqueue, as in a guest kernel, for tests and tools that play the guest. Not made for
 * speed. Owns its two eventfds.
 */
export class DriverVirtqueue {
  readonly kickFd: number
  readonly callFd: number
  /** The rings themselves, for tests that write impossible values. */
  readonly desc: Int32Array
  readonly avail: Uint16Array
  readonly used: Uint16Array
  readonly usedElements: Int32Array
  private readonly loop: EventLoop
  private readonly free: number[] = []
  private readonly chains = new Map<number, number[]>()
  private nextAvail = 0
  private kickedAvail = 0
  private nextUsed = 0

  /**
   * `indirectGpa`: room for one table of `size` descriptors for each head; undefined: chains lie in the main table.
   * Throws ProtocolError BAD_RING if the rings are not in guest memory.
   */
  constructor(
    private readonly memory: GuestMemory,
    readonly layout: RingLayout,
    private readonly eventIdx: boolean,
    private readonly indirectGpa: number | undefined,
  ) {
    const { size } = layout
    this.desc = new Int32Array(this.open(layout.descGpa, descBytes(size)))
    this.avail = new Uint16Array(this.open(layout.availGpa, availBytes(size)))
    const used = this.open(layout.usedGpa, usedBytes(size))
    this.used = new Uint16Array(used)
    this.usedElements = new Int32Array(used, 4, 2 * size)
    for (let n = size - 1; n >= 0; n--) this.free.push(n)
    // These come last, so that refused rings leave no descriptor behind.
    this.kickFd = mustSucceed('eventfd', native.eventfdCreate(native.constants.EFD_NONBLOCK))
    this.callFd = mustSucceed('eventfd', native.eventfdCreate(native.constants.EFD_NONBLOCK))
    this.loop = new EventLoop()
    this.loop.addReadable(this.callFd, () => native.eventfdDrain(this.callFd))
  }

  /** The number of requests that the device holds. */
  get inFlightCount(): number {
    return this.chains.size
  }

  /** Puts a request on the ring without a kick. Returns its head. Throws if the queue has no room. */
  submit(readable: readonly Buffer[], writable: readonly Buffer[]): number {
    const buffers = [...readable, ...writable]
    const { size } = this.layout
    if (buffers.length === 0 || buffers.length > size)
      throw new RangeError(`${buffers.length} buffers, not 1 to ${size}`)
    const indices = this.take(this.indirectGpa === undefined ? buffers.length : 1)
    const head = indices[0]
    if (this.indirectGpa === undefined) {
      buffers.forEach((buffer, n) => {
        this.writeDescriptor(this.desc, indices[n], buffer, n >= readable.length, indices[n + 1])
      })
    } else {
      const tableGpa = this.indirectGpa + head * descBytes(size)
      const table = new Int32Array(4 * buffers.length)
      buffers.forEach((buffer, n) => {
        const next = n + 1 < buffers.length ? n + 1 : undefined
        this.writeDescriptor(table, n, buffer, n >= readable.length, next)
      })
      const bytes = new Uint8Array(table.buffer)
      const at = new Float64Array([tableGpa, bytes.length])
      mustSucceed('guestWrite', native.guestWrite(this.memory.id, at, 0, 1, 0, bytes.length, bytes, 0))
      this.writeDescriptor(this.desc, head, { gpa: tableGpa, lenBytes: bytes.length }, false, undefined)
      this.desc[4 * head + 3] = VRING_DESC_F_INDIRECT
    }
    this.chains.set(head, indices)
    this.publish(head)
    return head
  }

  /** Makes `head` available without any check. */
  publish(head: number): void {
    this.avail[2 + (this.nextAvail & (this.layout.size - 1))] = head
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    Atomics.store(this.avail, 1, this.nextAvail)
  }

  /** Kicks the device if it asked for a kick for the requests submitted since the last call. */
  kick(): void {
    const fresh = (this.nextAvail - this.kickedAvail) & 0xffff
    this.kickedAvail = this.nextAvail
    let wanted: boolean
    if (this.eventIdx) {
      const availEvent = Atomics.load(this.used, 2 + 4 * this.layout.size)
      wanted = ((this.nextAvail - availEvent - 1) & 0xffff) < fresh
    } else {
      wanted = (Atomics.load(this.used, 0) & VRING_USED_F_NO_NOTIFY) === 0
    }
    if (wanted) native.eventfdSignal(this.kickFd)
  }

  /** Returns the next completed request; undefined if none comes within `timeoutMs`. */
  reap(timeoutMs: number): Used | undefined {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      if (Atomics.load(this.used, 1) !== this.nextUsed) return this.takeUsed()
      // Asks for a signal with the next used buffer, then looks again before it sleeps.
      if (this.eventIdx) Atomics.store(this.avail, 2 + this.layout.size, this.nextUsed)
      if (Atomics.load(this.used, 1) !== this.nextUsed) return this.takeUsed()
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) return undefined
      this.loop.wait(Math.ceil(leftMs))
    }
  }

  close(): void {
    this.loop.close()
    native.close(this.kickFd)
    native.close(this.callFd)
  }

  private open(gpa: number, lenBytes: number): ArrayBuffer {
    const buffer = this.memory.openRing(gpa, lenBytes)
    if (buffer === undefined)
      throw new ProtocolError('BAD_RING', `${lenBytes} bytes at ${gpa} are not guest memory`)
    return buffer
  }

  private take(count: number): number[] {
    if (count > this.free.length) throw new RangeError(`${count} descriptors, ${this.free.length} free`)
    return this.free.splice(-count)
  }

  private takeUsed(): Used {
    const at = 2 * (this.nextUsed & (this.layout.size - 1))
    const head = this.usedElements[at]
    const writtenBytes = this.usedElements[at + 1] >>> 0
    this.nextUsed = (this.nextUsed + 1) & 0xffff
    this.free.push(...(this.chains.get(head) ?? []))
    this.chains.delete(head)
    return { head, writtenBytes }
  }

  private writeDescriptor(
    table: Int32Array,
    index: number,
    buffer: Buffer,
    writable: boolean,
    next: number | undefined,
  ): void {
    const flags = (writable ? VRING_DESC_F_WRITE : 0) | (next === undefined ? 0 : VRING_DESC_F_NEXT)
    table[4 * index] = buffer.gpa % 0x1_0000_0000
    table[4 * index + 1] = Math.floor(buffer.gpa / 0x1_0000_0000)
    table[4 * index + 2] = buffer.lenBytes
    table[4 * index + 3] = flags | ((next ?? 0) << 16)
  }
}
