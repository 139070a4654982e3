import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import type { GuestMemory } from '../memory/guest-memory.js'

/** The return value of `process` for a request that `DescriptorChain.complete` will complete later. */
export const PENDING = -1

const { ECANCELED } = os.errno
const { ASYNC_CACHED_READ, ASYNC_READ, ASYNC_WRITE } = native.constants

/** The queue that a chain came from. */
interface ChainQueue {
  complete(chain: DescriptorChain, writtenBytes: number): void
  /** The number of requests that wait and were not taken. */
  readonly waitingCount: number
  /** Called when a request is completed after `process` has returned. */
  readonly onLateCompletion: (() => void) | undefined
}

/**
 * One request of the driver: a stream of readable bytes, then a stream of writable bytes. Both lie in segments of
 * guest memory of any size; nothing here assumes where a segment ends.
 *
 * The guest can change shared memory at any time: copy first, then check the copy.
 *
 * A chain is open until it is completed or given up (see VhostUserDevice.cancel). A closed chain reaches no guest
 * memory: reading and writing return false or -ECANCELED. The object then serves another request, so a device must
 * drop its reference when it completes a chain. Only the chain of a request that settled a promise is never reused.
 */
export class DescriptorChain {
  /** Pairs [gpa, lenBytes]: first the readable segments, then the writable ones. */
  segments: Float64Array
  readableSegments = 0
  segmentCount = 0
  readableBytes = 0
  writableBytes = 0
  /** The head's index, by which the queue names this request; -1 for a closed chain. */
  head = -1
  /** Belongs to the queue: the controller of `signal`. */
  controller: AbortController | undefined

  /** `segments` has room for as many pairs as the queue has descriptors. */
  constructor(
    readonly queue: ChainQueue,
    readonly memory: GuestMemory,
    segments: Float64Array,
  ) {
    this.segments = segments
  }

  /** True until the request is completed or given up. */
  get isOpen(): boolean {
    return this.head >= 0
  }

  /** The number of further requests on the queue that were not taken. */
  get followerCount(): number {
    return this.queue.waitingCount
  }

  /** Aborted when the request can wait no longer, at the same time as VhostUserDevice.cancel. Made on first use. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    return this.controller.signal
  }

  /** Copies readable bytes [skipBytes, skipBytes + lenBytes) to `out`. Returns false if the request is shorter. */
  read(skipBytes: number, lenBytes: number, out: Uint8Array, at: number): boolean {
    if (skipBytes + lenBytes > this.readableBytes || this.head < 0) return false
    const { memory, segments, readableSegments } = this
    return (
      native.guestRead(memory.id, segments, 0, readableSegments, skipBytes, lenBytes, out, at) === lenBytes
    )
  }

  /**
   * Copies readable bytes [skipBytes, skipBytes + lenBytes) to `out` from word 0 on. Fast for small structs: copies
   * whole words of one aligned segment here, and leaves everything else to `read`. `skipBytes` is a multiple of 4,
   * and `out` has room for lenBytes rounded up to words; bytes beyond lenBytes are undefined.
   */
  readWords(skipBytes: number, lenBytes: number, out: Int32Array, outBytes: Uint8Array): boolean {
    if (skipBytes + lenBytes > this.readableBytes) return false
    if (lenBytes === 0) return true
    let n = 0
    let skip = skipBytes
    // A driver puts each struct into a segment of its own: the first loop ends soon.
    while (skip >= this.segments[2 * n + 1]) skip -= this.segments[2 * n++ + 1]
    const gpa = this.segments[2 * n] + skip
    const rounded = (lenBytes + 3) & ~3
    if (this.segments[2 * n + 1] - skip >= lenBytes && (gpa & 3) === 0) {
      const window = this.memory.window(gpa, rounded)
      if (window !== undefined) {
        const from = (gpa - window.gpa) >> 2
        const count = rounded >> 2
        const { words } = window
        for (let w = 0; w < count; w++) out[w] = words[from + w]
        return true
      }
    }
    return this.read(skipBytes, lenBytes, outBytes, 0)
  }

  /** Copies `lenBytes` of `from` to the writable bytes from `skipBytes` on. Returns false if there is no room. */
  write(skipBytes: number, lenBytes: number, from: Uint8Array, at: number): boolean {
    if (skipBytes + lenBytes > this.writableBytes || this.head < 0) return false
    const { memory, segments, readableSegments, segmentCount } = this
    return (
      native.guestWrite(
        memory.id,
        segments,
        readableSegments,
        segmentCount,
        skipBytes,
        lenBytes,
        from,
        at,
      ) === lenBytes
    )
  }

  /**
   * Writes the first `lenBytes` of `from` to the beginning of the writable bytes. Fast for small structs: copies the
   * part in aligned segments of whole words here.
   */
  writeWords(lenBytes: number, from: Int32Array, fromBytes: Uint8Array): boolean {
    if (lenBytes > this.writableBytes) return false
    let done = 0
    for (let n = this.readableSegments; done < lenBytes; n++) {
      const gpa = this.segments[2 * n]
      const part = Math.min(this.segments[2 * n + 1], lenBytes - done)
      const window = ((gpa | part | done) & 3) === 0 ? this.memory.window(gpa, part) : undefined
      if (window === undefined) return this.write(done, lenBytes - done, fromBytes, done)
      const to = (gpa - window.gpa) >> 2
      const first = done >> 2
      const count = part >> 2
      const { words } = window
      for (let w = 0; w < count; w++) words[to + w] = from[first + w]
      done += part
    }
    return true
  }

  /**
   * Reads from a file straight into the writable bytes from `skipBytes` on. Returns bytes read, fewer than `lenBytes`
   * at the end of the file, or a negative errno. The number of writable bytes limits `lenBytes`.
   */
  readFromFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number {
    if (this.head < 0) return -ECANCELED
    const { memory, segments, readableSegments: first, segmentCount: end } = this
    return native.guestPreadv(memory.id, segments, first, end, skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  /** Writes readable bytes from `skipBytes` on straight to a file. Returns bytes written, or a negative errno. */
  writeToFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number {
    if (this.head < 0) return -ECANCELED
    const { memory, segments, readableSegments: end } = this
    return native.guestPwritev(memory.id, segments, 0, end, skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  /**
   * Starts `readFromFile`; `asyncReap` returns `token` with the result. With `isCached`, the data is in memory, and a
   * thread that copies beside this one carries it out. Returns 0 or a negative errno.
   */
  startReadFromFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
    isCached = false,
  ): number {
    if (this.head < 0) return -ECANCELED
    const { memory, segments, readableSegments, segmentCount } = this
    return native.asyncTransfer(
      isCached ? ASYNC_CACHED_READ : ASYNC_READ,
      token,
      memory.id,
      segments,
      readableSegments,
      segmentCount,
      skipBytes,
      lenBytes,
      fd,
      offsetBytes,
      flags,
    )
  }

  /** Starts `writeToFile` in the same way. */
  startWriteToFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number {
    if (this.head < 0) return -ECANCELED
    const { memory, segments, readableSegments: end } = this
    return native.asyncTransfer(
      ASYNC_WRITE,
      token,
      memory.id,
      segments,
      0,
      end,
      skipBytes,
      lenBytes,
      fd,
      offsetBytes,
      flags,
    )
  }

  /**
   * Completes a request for which `process` returned PENDING: `writtenBytes` of the writable bytes are valid. Returns
   * false if the request was given up, which the guest then never sees answered.
   */
  complete(writtenBytes: number): boolean {
    if (this.head < 0) return false
    const { queue } = this
    queue.complete(this, writtenBytes)
    queue.onLateCompletion?.()
    return true
  }

  /** Used by the back-end: the request can wait no longer. */
  abort(): void {
    this.controller?.abort()
  }

  /** Used by the queue: keeps this request out of guest memory from now on. */
  close(): void {
    this.head = -1
    this.controller = undefined
    this.readableSegments = 0
    this.segmentCount = 0
    this.readableBytes = 0
    this.writableBytes = 0
  }
}
