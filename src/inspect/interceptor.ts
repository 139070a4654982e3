import { performance } from 'node:perf_hooks'
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
  sooner,
} from 'virtio-fs-ts/protocol'
import { drawDelayMs, type FaultReport, FaultRule } from './fault-rule.js'
import type { FaultSpec } from './fault-spec.js'
import { Holds } from './holds.js'
import { InodeActivity } from './inode-activity.js'
import { Latencies } from './latencies.js'
import { RequestPeek } from './request-summary.js'
import { type RequestObserver, WatchedRequest } from './watched-request.js'

/** Receives every watched request after its completion. */
export interface TraceSink {
  add(request: WatchedRequest): void
  flush(): void
  flushIfDue(nowMs: number): void
  /** Returns the milliseconds until something is due, or -1 for never. */
  nextDueMs(nowMs: number): number
}

/** Reports a deliberate disturbance; `kind` comes from a fixed set. */
export type Report = (kind: string, fields: object) => void

/** Offset of the size field; READ and WRITE begin alike with handle, offset and size. */
const SIZE_AT = ARGS + 16

/**
 * Stands between the rings and the session while a share is inspected, traced or disturbed. It counts the
 * requests in flight, times and traces them, and applies faults. When inactive, it costs one test for each
 * request.
 *
 * It collects all requests of a batch before it serves the first, so requests that the guest had in flight
 * together are also counted together.
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
  /** The number of watched requests that have not been completed. */
  private underWay = 0

  constructor(
    private readonly session: Session,
    private readonly introspection: Introspection,
    private readonly report: Report,
  ) {
    this.activity = new InodeActivity(introspection)
  }

  /** True if requests go through this object. */
  active = false
  /** The requests that faults were applied to, since the start. */
  faultsApplied = 0

  /** Starts or stops counting overlap and timing requests. */
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

  /** Ends a fault and releases the requests it holds. Returns false if no fault has this number. */
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

  /** Releases all held requests; returns how many. */
  release(): number {
    const held = this.holds.takeAll()
    for (const request of held) this.pass(request)
    return held.length
  }

  /** Takes over a request to complete it later. Returns PENDING. */
  process(carrier: Carrier, queueIndex: number): number {
    if (!this.peek.begin(carrier)) return this.session.process(carrier)
    const request = new WatchedRequest(carrier, queueIndex, this.peek.summarise(), performance.now(), this)
    this.underWay++
    if (this.inspecting) this.activity.seen(request)
    this.staged.push(request)
    return PENDING
  }

  /** Serves the collected requests and those that are due. Returns true if there were any. */
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

  /** Serves everything at once, because the rings stop. */
  drain(): void {
    const batch = this.staged
    this.staged = []
    for (const request of batch) this.pass(request)
    this.release()
  }

  forget(): void {
    this.staged = []
    this.holds.takeAll()
    this.underWay = 0
    this.activity.forgetUnderWay()
    this.trace?.flush()
    this.update()
  }

  /** Returns the milliseconds until `progress` has work, or -1 if only a new request can give it work. */
  nextDueMs(): number {
    if (!this.active) return -1
    const nowMs = performance.now()
    const heldMs = this.holds.nextDueMs(nowMs)
    const traceMs = this.trace?.nextDueMs(nowMs) ?? -1
    return sooner(heldMs, traceMs)
  }

  /** Ends the session: the node ids and handles known so far lose their meaning. */
  sessionEnded(): void {
    this.activity.endSession()
    this.trace?.flush()
  }

  /** The session's hook before an operation: returns the outcome that a fault has chosen. */
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
    // Requests in flight are completed the way they began.
    this.active = wanted || this.underWay > 0
    this.session.beforeOperation = this.rules.length > 0 ? this.beforeOperation : undefined
  }

  /** Applies the first fault that matches: it holds the request, or passes it on with a chosen outcome. */
  private admit(request: WatchedRequest): void {
    const rule = this.ruleFor(request)
    if (rule === undefined) {
      this.pass(request)
      return
    }
    rule.apply(request)
    this.faultsApplied++
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

  /** Returns the path a request is about: the path of its name if it has one, else that of its inode. */
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
