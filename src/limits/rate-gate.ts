import { performance } from 'node:perf_hooks'
import {
  ARGS,
  type Carrier,
  CopyFileRangeIn,
  type Counters,
  type Gate,
  Opcode,
  ReadIn,
  type Request,
  WriteIn,
} from 'virtio-fs-ts/protocol'
import { Lane } from './lane.js'
import { noRateLimits, type RateLimits } from './rate-words.js'
import { TokenBucket } from './token-bucket.js'

const OPCODES = 64

/** These never wait: they end something, or they begin or end the session. */
const FREE: ReadonlySet<number> = new Set([
  Opcode.FORGET,
  Opcode.BATCH_FORGET,
  Opcode.INTERRUPT,
  Opcode.RELEASE,
  Opcode.RELEASEDIR,
  Opcode.INIT,
  Opcode.DESTROY,
])

/** A copy under a limit moves what passes in this time, and at least so many bytes. */
const COPY_SECONDS = 0.1
const LEAST_COPY_BYTES = 64 * 1024
/** The most requests that are served before the rings are looked at again. */
const TURN = 64
/** The most requests that are paid for together, while there is plenty. */
const PREPAID = 64
/** The longest time until it is looked again: epoll_wait(2) takes 24 days at most, and a debt may last longer. */
const LONGEST_MS = 60_000

/**
 * Limits what a share does in a second: requests, bytes read and bytes written. A request above a limit waits here in
 * order of arrival; a read does not wait for the bytes of writes. The rings bound how many wait. No timer runs: the
 * share's thread wakes up when the next one is due.
 */
export class RateGate implements Gate {
  private readonly iops = new TokenBucket()
  private readonly reads = new TokenBucket()
  private readonly writes = new TokenBucket()
  private readonly reading = new Lane([this.iops, this.reads])
  private readonly writing = new Lane([this.iops, this.writes])
  /** Copies are charged when they end. */
  private readonly copying = new Lane([this.iops, this.reads, this.writes])
  private readonly others = new Lane([this.iops])
  private readonly lanes: readonly Lane[] = [this.reading, this.writing, this.copying, this.others]
  /** By opcode; undefined: never waits. */
  private readonly laneOf = Array.from({ length: OPCODES }, (_, opcode) =>
    FREE.has(opcode) ? undefined : this.others,
  )
  /** By opcode; 1: nothing but the number of requests limits it. */
  private readonly isOnlyCounted = new Uint8Array(OPCODES)
  /** Requests of these opcodes that are paid for and have not come. What is left goes back at the end of the batch. */
  private prepaid = 0
  private inForce = noRateLimits
  private nextOrder = 0
  /** When this batch of requests began. */
  private nowMs = performance.now()
  private copiedBytes: number
  /** True if the buckets were filled up during this batch of requests: a pause before it earns no more than the burst. */
  private isFresh = false
  count = 0
  /** The requests that had to wait, since the start, and how long all of them waited. */
  heldCount = 0
  heldMs = 0

  constructor(private readonly counters: Counters) {
    this.copiedBytes = counters.copiedBytes
    this.laneOf[Opcode.READ] = this.reading
    this.laneOf[Opcode.WRITE] = this.writing
    this.laneOf[Opcode.COPY_FILE_RANGE] = this.copying
    this.laneOf[Opcode.COPY_FILE_RANGE_64] = this.copying
    this.laneOf.forEach((lane, opcode) => {
      this.isOnlyCounted[opcode] = lane === this.others ? 1 : 0
    })
  }

  get limits(): RateLimits {
    return this.inForce
  }

  /** Changes the limits. Waiting requests go on as the new ones allow. */
  set limits(limits: RateLimits) {
    const nowMs = performance.now()
    this.payBack()
    this.refill(nowMs)
    this.inForce = limits
    this.iops.set(limits.iops, nowMs)
    this.reads.set(limits.readBytes, nowMs)
    this.writes.set(limits.writeBytes, nowMs)
  }

  /** True while it has an effect. */
  get isNeeded(): boolean {
    const { iops, readBytes, writeBytes } = this.inForce
    return iops !== undefined || readBytes !== undefined || writeBytes !== undefined || this.count > 0
  }

  admit(request: Request, isDue: boolean): boolean {
    const { opcode } = request
    if (this.prepaid > 0 && !isDue && this.isOnlyCounted[opcode] === 1) {
      this.prepaid--
      return true
    }
    const lane = this.laneOf[Math.min(opcode, OPCODES - 1)]
    if (lane === undefined) return true
    // The usual case: nothing waits, and there is plenty.
    if (this.count === 0 && this.isCurrent && lane !== this.copying && this.isOpen && !isDue) {
      this.pay(lane, this.bytesOf(request, lane))
      return true
    }
    if (lane === this.copying) this.shorten(request)
    if (isDue) return true
    const bytes = this.bytesOf(request, lane)
    if (lane.length === 0 && this.mayPass(lane)) {
      this.pay(lane, bytes)
      return true
    }
    this.count++
    this.heldCount++
    lane.push({ carrier: request.carrier, bytes, order: this.nextOrder++, sinceMs: performance.now() })
    return false
  }

  progress(nowMs: number, serve: (carrier: Carrier, sinceMs: number) => void): boolean {
    this.isFresh = false
    this.nowMs = nowMs
    this.payBack()
    if (this.count === 0) {
      this.prepay(nowMs)
      return false
    }
    this.refill(nowMs)
    let served = 0
    while (served < TURN && this.serveOldest(({ isOpen }) => isOpen, serve)) served++
    return served > 0
  }

  nextDueMs(): number {
    if (this.count === 0) return -1
    this.refill(performance.now())
    const waiting = this.lanes.filter(({ length }) => length > 0)
    return Math.min(LONGEST_MS, ...waiting.map(({ opensInMs }) => opensInMs))
  }

  drain(serve: (carrier: Carrier, sinceMs: number) => void): void {
    // They are charged all the same, so a guest that stops its rings again and again gains nothing.
    while (this.serveOldest(() => true, serve)) {}
  }

  forget(): void {
    for (const lane of this.lanes) while (lane.length > 0) lane.shift()
    this.count = 0
  }

  /** Serves the request that came first, of the lanes that `mayGo`. Returns false if there is none. */
  private serveOldest(
    mayGo: (lane: Lane) => boolean,
    serve: (carrier: Carrier, sinceMs: number) => void,
  ): boolean {
    let oldest: Lane | undefined
    for (const lane of this.lanes)
      if (
        lane.first !== undefined &&
        mayGo(lane) &&
        !(lane.first.order > (oldest?.first?.order ?? Number.POSITIVE_INFINITY))
      )
        oldest = lane
    const first = oldest?.first
    if (oldest === undefined || first === undefined) return false
    oldest.shift()
    this.count--
    this.heldMs += performance.now() - first.sinceMs
    this.pay(oldest, first.bytes)
    serve(first.carrier, first.sinceMs)
    return true
  }

  /** True if none of the limits holds anything back. */
  private get isOpen(): boolean {
    return this.iops.isOpen && this.reads.isOpen && this.writes.isOpen
  }

  /** True if the buckets hold what this batch begins with, and all copies are charged. */
  private get isCurrent(): boolean {
    return this.isFresh && this.copiedBytes === this.counters.copiedBytes
  }

  /** The clock is only read when a bucket is empty. */
  private mayPass(lane: Lane): boolean {
    if (!this.isCurrent) this.refill(this.nowMs)
    if (!lane.isOpen) this.refill(performance.now())
    return lane.isOpen
  }

  private pay(lane: Lane, bytes: number): void {
    this.iops.take(1)
    if (lane === this.reading) this.reads.take(bytes)
    else if (lane === this.writing) this.writes.take(bytes)
  }

  private prepay(nowMs: number): void {
    if (!this.iops.holds(2 * PREPAID)) this.iops.refill(nowMs, false)
    if (!this.iops.holds(2 * PREPAID)) return
    this.iops.take(PREPAID)
    this.prepaid = PREPAID
  }

  private payBack(): void {
    this.iops.take(-this.prepaid)
    this.prepaid = 0
  }

  private refill(nowMs: number): void {
    this.isFresh = true
    const copies = this.copying.length > 0
    this.iops.refill(nowMs, this.count > 0)
    this.reads.refill(nowMs, copies || this.reading.length > 0)
    this.writes.refill(nowMs, copies || this.writing.length > 0)
    const { copiedBytes } = this.counters
    this.reads.take(copiedBytes - this.copiedBytes)
    this.writes.take(copiedBytes - this.copiedBytes)
    this.copiedBytes = copiedBytes
  }

  /** Shortens a single copy. The guest asks again for the rest. */
  private shorten({ args }: Request): void {
    const { readBytes, writeBytes } = this.inForce
    const perSecond = Math.min(
      readBytes?.perSecond ?? Number.POSITIVE_INFINITY,
      writeBytes?.perSecond ?? Number.POSITIVE_INFINITY,
    )
    if (perSecond === Number.POSITIVE_INFINITY) return
    const mostBytes = Math.max(LEAST_COPY_BYTES, Math.floor(perSecond * COPY_SECONDS))
    const lenBytes = CopyFileRangeIn.lenBytes(args, ARGS)
    if (lenBytes < 0 || lenBytes > mostBytes) CopyFileRangeIn.writeLenBytes(args, ARGS, mostBytes)
  }

  /** The bytes that a request is charged for: those that it asks for. */
  private bytesOf({ args, replyRoomBytes }: Request, lane: Lane): number {
    if (lane === this.others) return 0
    if (lane === this.reading) return Math.min(ReadIn.sizeBytes(args, ARGS), replyRoomBytes)
    return lane === this.writing ? WriteIn.sizeBytes(args, ARGS) : 0
  }
}
