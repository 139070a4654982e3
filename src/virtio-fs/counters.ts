import { performance } from 'node:perf_hooks'
import { opcodeName } from './abi.js'
import { LATENCY_BUCKETS, latencyBucketOf } from './latency-buckets.js'

/** Opcodes with their own counter. All others share the last one. */
const OPCODES = 64

/** The numbers in the shared memory, as doubles: they count exactly for longer than any guest runs. */
const REQUESTS_AT = 0
const ERRORS_AT = REQUESTS_AT + OPCODES
/** The sum of latencies in milliseconds. */
const ELAPSED_AT = ERRORS_AT + OPCODES
const BYTES_AT = ELAPSED_AT + OPCODES
const BYTE_COUNTS = 3
const LATENCIES_AT = BYTES_AT + BYTE_COUNTS
const FLAGS_AT = LATENCIES_AT + OPCODES * LATENCY_BUCKETS
const NUMBERS = FLAGS_AT + 1

/**
 * The most requests that share a look at the clock, which takes longer than everything else that is counted: as many as take
 * the time below together, between 1 and this.
 */
const MOST_TOGETHER = 32
const TOGETHER_MS = 0.02

/** Replies of a share by opcode. */
export interface CountsReport {
  readonly requests: Readonly<Record<string, number>>
  /** Replies with an error, including ENOENT of lookups. */
  readonly errors: Readonly<Record<string, number>>
}

/** The latencies of one opcode, since they were first counted. */
export interface LatencyCounts {
  readonly opcode: string
  /** By bucket: see latency-buckets.ts. */
  readonly buckets: readonly number[]
  readonly count: number
  readonly sumMs: number
}

/**
 * Requests, errors, bytes and latencies by opcode. The counts are in shared memory with one writer: other threads read them
 * without its help. Latencies are counted while someone wants them, everything else always.
 */
export class Counters {
  private readonly requests: Float64Array
  private readonly errors: Float64Array
  private readonly elapsedMs: Float64Array
  /** Read, written and copied. */
  private readonly bytes: Float64Array
  private readonly latencies: Float64Array
  private readonly flags: Int32Array
  /** The last known time: the end of some requests is the beginning of the next. 0: none is known yet. */
  private clockMs = 0
  /** The requests that were answered since then: all of one opcode, so that a long one of another is not counted in. */
  private answeredCount = 0
  private answeredRow = 0
  private together = 8

  /** Uses memory that another thread made, or allocates its own. */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8 * NUMBERS)) {
    const at = (first: number, count: number) => new Float64Array(memory, 8 * first, count)
    this.requests = at(REQUESTS_AT, OPCODES)
    this.errors = at(ERRORS_AT, OPCODES)
    this.elapsedMs = at(ELAPSED_AT, OPCODES)
    this.bytes = at(BYTES_AT, BYTE_COUNTS)
    this.latencies = at(LATENCIES_AT, OPCODES * LATENCY_BUCKETS)
    this.flags = new Int32Array(memory, 8 * FLAGS_AT, 1)
  }

  asked(opcode: number): void {
    this.requests[rowOf(opcode)]++
  }

  /** A request that was counted is counted again by who serves it. */
  withdrawn(opcode: number): void {
    this.requests[rowOf(opcode)]--
  }

  failed(opcode: number): void {
    this.errors[rowOf(opcode)]++
  }

  read(bytes: number): void {
    this.bytes[0] += bytes
  }

  wrote(bytes: number): void {
    this.bytes[1] += bytes
  }

  copied(bytes: number): void {
    this.bytes[2] += bytes
  }

  /** Bytes that were sent to the guest by READ, received from it by WRITE, and copied on the host for it. */
  get readBytes(): number {
    return this.bytes[0]
  }

  get writtenBytes(): number {
    return this.bytes[1]
  }

  get copiedBytes(): number {
    return this.bytes[2]
  }

  /** True while latencies are counted. Any thread may set it. */
  get isTimed(): boolean {
    return this.flags[0] === 1
  }

  set isTimed(on: boolean) {
    this.flags[0] = on ? 1 : 0
  }

  /** The time at which a request begins, or 0 if latencies are not counted. */
  begin(opcode: number): number {
    if (this.flags[0] === 0) return 0
    if (this.clockMs === 0) this.clockMs = performance.now()
    else if (this.answeredCount > 0 && this.answeredRow !== rowOf(opcode)) this.lookAtClock()
    return this.clockMs
  }

  /**
   * A request that began at `startMs` is answered. Short requests that are answered at once, one after the other, share a
   * look at the clock: each counts until the last of them is answered.
   */
  answered(opcode: number, startMs: number): void {
    if (startMs === 0) return
    const row = rowOf(opcode)
    if (startMs === this.clockMs && (this.answeredCount === 0 || this.answeredRow === row)) {
      this.answeredRow = row
      if (++this.answeredCount >= this.together) this.lookAtClock()
    } else {
      this.took(row, performance.now() - startMs)
    }
  }

  /** The time, between two batches of requests. */
  tick(nowMs: number): void {
    if (this.answeredCount > 0) this.count(nowMs)
    this.clockMs = nowMs
  }

  /** Counts what was answered until now: nothing else is known of the time that comes. */
  settle(): void {
    if (this.answeredCount > 0) this.lookAtClock()
    this.clockMs = 0
  }

  private lookAtClock(): void {
    this.tick(performance.now())
  }

  private count(nowMs: number): void {
    const { answeredRow, answeredCount, together } = this
    const elapsedMs = nowMs - this.clockMs
    this.elapsedMs[answeredRow] += answeredCount * elapsedMs
    this.latencies[answeredRow * LATENCY_BUCKETS + latencyBucketOf(elapsedMs)] += answeredCount
    this.answeredCount = 0
    if (elapsedMs > 2 * TOGETHER_MS) this.together = Math.max(1, Math.min(together, answeredCount) >> 1)
    else if (elapsedMs < TOGETHER_MS && answeredCount === together)
      this.together = Math.min(MOST_TOGETHER, 2 * together)
  }

  private took(row: number, elapsedMs: number): void {
    this.elapsedMs[row] += elapsedMs
    this.latencies[row * LATENCY_BUCKETS + latencyBucketOf(elapsedMs)]++
  }

  /** Adds what another block of counters has counted. */
  add(other: Counters): void {
    const own = new Float64Array(this.memory, 0, FLAGS_AT)
    const more = new Float64Array(other.memory, 0, FLAGS_AT)
    for (let n = 0; n < FLAGS_AT; n++) own[n] += more[n]
  }

  report(): CountsReport {
    return { requests: byName(this.requests), errors: byName(this.errors) }
  }

  /** The opcodes with any latency. A writer may add to them meanwhile, so the count is that of the buckets. */
  latencyReport(): LatencyCounts[] {
    return Array.from({ length: OPCODES }, (_, opcode) => {
      const buckets = Array.from(
        this.latencies.subarray(opcode * LATENCY_BUCKETS, (opcode + 1) * LATENCY_BUCKETS),
      )
      const count = buckets.reduce((sum, one) => sum + one, 0)
      return { opcode: opcodeName(opcode), buckets, count, sumMs: this.elapsedMs[opcode] }
    }).filter(({ count }) => count > 0)
  }
}

const rowOf = (opcode: number) => (opcode < OPCODES ? opcode : OPCODES - 1)

function byName(counts: Float64Array): Record<string, number> {
  const named: Record<string, number> = {}
  counts.forEach((count, opcode) => {
    if (count > 0) named[opcodeName(opcode)] = count
  })
  return named
}
