import {
  ARGS,
  type Carrier,
  EINVAL,
  type Introspection,
  Opcode,
  opcodeName,
  PENDING,
  ReadIn,
  type Request,
  type Session,
} from 'virtio-fs-ts/protocol'
import { drawDelayMs, type FaultReport, FaultRule } from './fault-rule.js'
import type { FaultSpec } from './fault-spec.js'
import { Holds } from './holds.js'
import { InodeActivity } from './inode-activity.js'
import { Latencies } from './latencies.js'
import { RequestPeek } from './request-summary.js'
import { type RequestObserver, WatchedRequest } from './watched-request.js'

/** Who is told of every request that was watched, when it has been given back. */
export interface TraceSink {
  add(request: WatchedRequest): void
  flush(): void
  flushIfDue(nowMs: number): void
  /** Milliseconds until something is due, -1 for never. */
  nextDueMs(nowMs: number): number
}

/** Tells of what was done on purpose; `kind` comes from a fixed set. */
export type Report = (kind: string, fields: object) => void

/** READ and WRITE alike: handle, offset, size. */
const SIZE_AT = ARGS + 16

/**
 * Stands between the rings and the session while somebody looks: counts what is in flight, times it, traces it, and does
 * to it what faults ask for. While nobody looks it costs one test for each request.
 *
 * Requests of one batch are collected first and served after: all that the guest had in flight at once is then seen in
 * flight at once.
 */
export class Interceptor implements RequestObserver {
  readonly activity: InodeActivity
  readonly latencies = new Latencies()
  private inspecting = false
  private trace: TraceSink | undefined
  private rules: FaultRule[] = []
  private nextRuleId = 1
  private readonly holds = new Holds()
  private readonly peek = new RequestPeek()
  private staged: WatchedRequest[] = []
  /** Watched requests that have not been given back. */
  private underWay = 0

  constructor(
    private readonly session: Session,
    private readonly introspection: Introspection,
    private readonly report: Report,
  ) {
    this.activity = new InodeActivity(introspection)
  }

  /** Whether requests go through here at all. */
  active = false

  /** Counts overlap and times requests from now on, or no more. */
  inspect(on: boolean): void {
    if (on === this.inspecting) return
    this.inspecting = on
    this.activity.clear()
    this.latencies.reset()
    this.update()
  }

  get isInspecting(): boolean {
    return this.inspecting
  }

  get isTracing(): boolean {
    return this.trace !== undefined
  }

  traceTo(sink: TraceSink | undefined): void {
    this.trace?.flush()
    this.trace = sink
    this.update()
  }

  addFault(spec: FaultSpec): FaultReport {
    const rule = new FaultRule(this.nextRuleId++, spec)
    this.rules = [...this.rules, rule]
    this.update()
    this.report('fault added', { id: rule.id, spec })
    return rule.report()
  }

  /** Ends a fault and lets go what it holds. False when there is none of this number. */
  removeFault(id: number): boolean {
    const rule = this.rules.find((other) => other.id === id)
    if (rule === undefined) return false
    this.rules = this.rules.filter((other) => other !== rule)
    for (const request of this.holds.takeAll(rule)) this.pass(request)
    this.update()
    this.report('fault removed', { id, applied: rule.applied })
    return true
  }

  clearFaults(): number {
    const ids = this.rules.map(({ id }) => id)
    for (const id of ids) this.removeFault(id)
    return ids.length
  }

  faultReports(): FaultReport[] {
    return this.rules.map((rule) => rule.report())
  }

  /** Lets go everything that is held now; returns how many. */
  release(): number {
    const held = this.holds.takeAll()
    for (const request of held) this.pass(request)
    return held.length
  }

  /** Takes a request over, to be given back later. Returns PENDING. */
  process(carrier: Carrier, queueIndex: number): number {
    if (!this.peek.begin(carrier)) return this.session.process(carrier)
    const request = new WatchedRequest(carrier, queueIndex, this.peek.summarise(), performance.now(), this)
    this.underWay++
    if (this.inspecting) this.activity.seen(request)
    this.staged.push(request)
    return PENDING
  }

  /** Serves what was collected and what is due. Whether there was anything. */
  progress(): boolean {
    if (!this.active && this.staged.length === 0) return false
    const batch = this.staged
    this.staged = []
    for (const request of batch) this.admit(request)
    const nowMs = performance.now()
    const due = this.holds.takeDue(nowMs)
    for (const request of due) this.pass(request)
    this.trace?.flushIfDue(nowMs)
    return batch.length + due.length > 0
  }

  /** Serves everything at once: the rings stop. */
  drain(): void {
    const batch = this.staged
    this.staged = []
    for (const request of batch) this.pass(request)
    this.release()
  }

  /** Milliseconds until `progress` has something to do, -1 when only a request can bring that about. */
  nextDueMs(): number {
    if (!this.active) return -1
    const nowMs = performance.now()
    const heldMs = this.holds.nextDueMs(nowMs)
    const traceMs = this.trace?.nextDueMs(nowMs) ?? -1
    return heldMs < 0 || traceMs < 0 ? Math.max(heldMs, traceMs) : Math.min(heldMs, traceMs)
  }

  /** The session has ended: what was known of its inodes and handles means nothing any more. */
  sessionEnded(): void {
    this.activity.endSession()
    this.trace?.flush()
  }

  /** The session's hook before an operation: the outcome that a fault has chosen. */
  private readonly beforeOperation = (request: Request): number => {
    const watched = request.carrier
    if (!(watched instanceof WatchedRequest)) return 0
    if (watched.forcedError !== 0) return watched.forcedError
    const { shortBytes, summary } = watched
    if (shortBytes === undefined) return 0
    if (summary.opcode !== Opcode.READ && summary.opcode !== Opcode.WRITE) return -EINVAL
    request.args.setUint32(SIZE_AT, Math.min(shortBytes, ReadIn.sizeBytes(request.args, ARGS)), true)
    return 0
  }

  completed(request: WatchedRequest): void {
    request.doneMs = performance.now()
    this.underWay--
    if (this.inspecting) {
      this.activity.completed(request)
      this.latencies.record(request.summary.opcode, request.doneMs - request.seenMs)
    }
    this.trace?.add(request)
    if (this.underWay === 0) this.update()
  }

  private update(): void {
    const wanted = this.inspecting || this.trace !== undefined || this.rules.length > 0
    // Requests in flight end as they began.
    this.active = wanted || this.underWay > 0
    this.session.beforeOperation = this.rules.length > 0 ? this.beforeOperation : undefined
  }

  /** A fault keeps the request, or lets it pass with the outcome it has chosen. The first that applies decides. */
  private admit(request: WatchedRequest): void {
    const rule = this.ruleFor(request)
    if (rule === undefined) {
      this.pass(request)
      return
    }
    rule.apply(request)
    const { opcode, nodeid } = request.summary
    this.report('fault applied', { id: rule.id, fault: rule.words, opcode: opcodeName(opcode), nodeid })
    const { hold, delay } = rule.spec
    if (delay !== undefined) {
      this.holds.delay(request, rule, performance.now() + drawDelayMs(delay))
    } else if (hold !== undefined) {
      this.holdBack(request, rule, hold)
    } else {
      this.pass(request)
    }
  }

  private holdBack(request: WatchedRequest, rule: FaultRule, hold: NonNullable<FaultSpec['hold']>): void {
    const { nodeid } = request.summary
    this.holds.delay(request, rule, performance.now() + hold.timeoutMs)
    if (this.holds.countOf(rule, nodeid) < hold.until) return
    for (const together of this.holds.takeOf(rule, nodeid)) this.pass(together)
  }

  private ruleFor(request: WatchedRequest): FaultRule | undefined {
    if (this.rules.length === 0) return undefined
    const path = this.rules.some((rule) => rule.needsPath) ? this.pathOf(request) : undefined
    return this.rules.find((rule) => rule.appliesTo(request, path))
  }

  /** The path that a request is about: of its name where it has one, else of its inode. */
  pathOf({ summary }: WatchedRequest): string | undefined {
    const path = this.introspection.pathOf(summary.nodeid)
    if (summary.name === undefined || path === undefined) return path
    return path === '' ? summary.name : `${path}/${summary.name}`
  }

  private pass(request: WatchedRequest): void {
    const writtenBytes = this.session.process(request)
    if (writtenBytes !== PENDING) request.complete(writtenBytes)
  }
}
