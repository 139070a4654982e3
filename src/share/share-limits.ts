import type { Session } from 'virtio-fs-ts/protocol'
import { RateGate } from '../limits/rate-gate.js'
import {
  bandwidthWords,
  iopsWords,
  LimitError,
  parseBandwidth,
  parseIops,
  parseQuotaBytes,
  parseQuotaInodes,
  type RateLimits,
} from '../limits/rate-words.js'
import type { QuotaLimits } from '../passthrough/quota/quota-ledger.js'
import type { QuotaOperations } from '../passthrough/quota/quota-operations.js'
import { CommandError, checkedObject } from './command-arguments.js'

/** The limits of a share, in the words of the options, and what they did. */
export interface LimitsReport {
  readonly iops: string
  readonly bandwidth: string
  /** Requests that wait now, and that had to wait since the start; the sum of their waits in seconds. */
  readonly waiting: number
  readonly held: number
  readonly heldSeconds: number
  /** Undefined if what the share holds is not counted. */
  readonly quota: QuotaReport | undefined
}

/** The quota of the share, and its use. */
export interface QuotaReport {
  readonly bytes: number | 'none'
  readonly usedBytes: number
  readonly inodes: number | 'none'
  readonly usedInodes: number
}

/** The limits of one share, which may be changed while it is served. */
export class ShareLimits {
  private readonly gate: RateGate
  private configuredQuota: QuotaLimits | undefined

  constructor(
    private readonly session: Session,
    /** As the configuration has them; commands may have changed them since. */
    private configured: RateLimits,
    private readonly quota?: QuotaOperations,
  ) {
    this.gate = new RateGate(session.counters)
    this.configuredQuota = quota?.ledger.limits
    this.apply(configured)
  }

  /** Changes what `argument` names, such as { iops: '1000:50' }; "none" ends a limit. Throws CommandError. */
  change(argument: unknown): void {
    const { iops, bandwidth, recount, ...rest } = checkedObject(argument)
    const { 'quota-bytes': bytes, 'quota-inodes': inodes, ...others } = rest
    for (const key of Object.keys(others))
      throw new CommandError(`unknown key '${key}': iops, bandwidth, quota-bytes, quota-inodes and recount`)
    const quota = this.changedQuota(bytes, inodes, recount)
    this.apply({
      ...this.gate.limits,
      ...(iops !== undefined && { iops: refused('iops', () => parseIops(`${iops}`)) }),
      ...(bandwidth !== undefined && refused('bandwidth', () => parseBandwidth(`${bandwidth}`))),
    })
    if (this.quota === undefined || quota === undefined) return
    this.quota.ledger.limits = quota
    if (recount !== undefined) this.quota.recount()
  }

  /** Puts the limits of a configuration in force, if they are others than those of the last one. */
  replace(limits: RateLimits, quota: QuotaLimits | undefined): void {
    if (this.quota !== undefined && quota !== undefined) this.replaceQuota(this.quota, quota)
    if (JSON.stringify(limits) === JSON.stringify(this.configured)) return
    this.configured = limits
    this.apply(limits)
  }

  private replaceQuota({ ledger }: QuotaOperations, limits: QuotaLimits): void {
    if (JSON.stringify(limits) === JSON.stringify(this.configuredQuota)) return
    this.configuredQuota = limits
    ledger.limits = limits
  }

  report(): LimitsReport {
    const { limits, count, heldCount, heldMs } = this.gate
    return {
      iops: iopsWords(limits),
      bandwidth: bandwidthWords(limits),
      waiting: count,
      held: heldCount,
      heldSeconds: heldMs / 1000,
      quota: this.quotaReport(),
    }
  }

  /** Returns the quota that follows; undefined: nothing about it changes. */
  private changedQuota(bytes: unknown, inodes: unknown, recount: unknown): QuotaLimits | undefined {
    if (bytes === undefined && inodes === undefined && recount === undefined) return undefined
    if (this.quota === undefined)
      throw new CommandError(
        'the share does not count what it holds: start it with --quota-bytes or --quota-inodes',
      )
    const { limits } = this.quota.ledger
    return {
      bytes: bytes === undefined ? limits.bytes : refused('quota-bytes', () => parseQuotaBytes(`${bytes}`)),
      inodes:
        inodes === undefined ? limits.inodes : refused('quota-inodes', () => parseQuotaInodes(`${inodes}`)),
    }
  }

  private quotaReport(): QuotaReport | undefined {
    if (this.quota === undefined) return undefined
    const { ledger } = this.quota
    ledger.settle()
    const { limits, usedBytes, usedInodes } = ledger
    return { bytes: limits.bytes ?? 'none', usedBytes, inodes: limits.inodes ?? 'none', usedInodes }
  }

  private apply(limits: RateLimits): void {
    this.gate.limits = limits
    this.session.gate = this.gate.isNeeded ? this.gate : undefined
  }
}

function refused<T>(key: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof LimitError)) throw error
    throw new CommandError(`${key}: ${error.message}`)
  }
}
