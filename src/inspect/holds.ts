import type { FaultRule } from './fault-rule.js'
import type { WatchedRequest } from './watched-request.js'

interface Held {
  readonly request: WatchedRequest
  readonly rule: FaultRule
  readonly untilMs: number
}

/** Holds requests until enough of them are held together or their time is over. */
export class Holds {
  /** The held requests in order of arrival. */
  private held: Held[] = []

  get count(): number {
    return this.held.length
  }

  /** Holds a request until `untilMs`. */
  delay(request: WatchedRequest, rule: FaultRule, untilMs: number): void {
    rule.heldNow++
    this.held.push({ request, rule, untilMs })
  }

  /** Returns how many requests of a rule on an inode are held now. */
  countOf(rule: FaultRule, nodeid: number): number {
    return this.held.filter((held) => held.rule === rule && held.request.summary.nodeid === nodeid).length
  }

  /** Removes and returns the requests that `rule` holds on an inode, because enough have come together. */
  takeOf(rule: FaultRule, nodeid: number): WatchedRequest[] {
    return this.take((held) => held.rule === rule && held.request.summary.nodeid === nodeid)
  }

  /**
   * Removes and returns the requests whose time is over. If one of them waits at a gate, all requests that
   * the gate holds on the same inode go with it.
   */
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

  /** Removes and returns the requests that one rule holds, or all requests. */
  takeAll(rule?: FaultRule): WatchedRequest[] {
    return this.take((held) => rule === undefined || held.rule === rule)
  }

  /** Returns the milliseconds until the next request is due, or -1 if none is held. */
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
