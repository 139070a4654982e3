import type { FaultRule } from './fault-rule.js'
import type { WatchedRequest } from './watched-request.js'

interface Held {
  readonly request: WatchedRequest
  readonly rule: FaultRule
  readonly untilMs: number
}

/** Requests that are kept back, until enough of them are held together or their time is over. */
export class Holds {
  /** In the order of arrival. */
  private held: Held[] = []

  get count(): number {
    return this.held.length
  }

  /** Keeps a request until `untilMs`. */
  delay(request: WatchedRequest, rule: FaultRule, untilMs: number): void {
    rule.heldNow++
    this.held.push({ request, rule, untilMs })
  }

  /** Requests of one rule on one inode that are held now. */
  countOf(rule: FaultRule, nodeid: number): number {
    return this.held.filter((held) => held.rule === rule && held.request.summary.nodeid === nodeid).length
  }

  /** Takes out what `rule` holds on an inode: enough have come together. */
  takeOf(rule: FaultRule, nodeid: number): WatchedRequest[] {
    return this.take((held) => held.rule === rule && held.request.summary.nodeid === nodeid)
  }

  /** Takes out those whose time is over; with the first of a gate, all that it holds on the same inode. */
  takeDue(nowMs: number): WatchedRequest[] {
    if (this.held.length === 0) return []
    const due = this.held.filter(({ untilMs }) => untilMs <= nowMs)
    if (due.length === 0) return []
    return this.take((held) =>
      due.some(
        (other) =>
          other === held ||
          (held.rule.spec.hold !== undefined &&
            other.rule === held.rule &&
            other.request.summary.nodeid === held.request.summary.nodeid),
      ),
    )
  }

  /** Takes out what one rule holds, or everything. */
  takeAll(rule?: FaultRule): WatchedRequest[] {
    return this.take((held) => rule === undefined || held.rule === rule)
  }

  /** Milliseconds until the next is due, or -1 when nothing is held. */
  nextDueMs(nowMs: number): number {
    if (this.held.length === 0) return -1
    return Math.max(0, Math.min(...this.held.map(({ untilMs }) => untilMs)) - nowMs)
  }

  private take(wanted: (held: Held) => boolean): WatchedRequest[] {
    const out = this.held.filter(wanted)
    if (out.length === 0) return []
    this.held = this.held.filter((held) => !out.includes(held))
    for (const { rule } of out) rule.heldNow--
    return out.map(({ request }) => request)
  }
}
