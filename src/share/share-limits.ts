import type { Session } from 'virtio-fs-ts/protocol'
import { RateGate } from '../limits/rate-gate.js'
import {
  bandwidthWords,
  iopsWords,
  LimitError,
  parseBandwidth,
  parseIops,
  type RateLimits,
} from '../limits/rate-words.js'
import { CommandError, checkedObject } from './command-arguments.js'

/** The limits of a share, in the words of the options, and what they did. */
export interface LimitsReport {
  readonly iops: string
  readonly bandwidth: string
  /** Requests that wait now, and that had to wait since the start; the sum of their waits in seconds. */
  readonly waiting: number
  readonly held: number
  readonly heldSeconds: number
}

/** The limits of one share, which may be changed while it is served. */
export class ShareLimits {
  private readonly gate: RateGate

  constructor(
    private readonly session: Session,
    /** As the configuration has them; commands may have changed them since. */
    private configured: RateLimits,
  ) {
    this.gate = new RateGate(session.counters)
    this.apply(configured)
  }

  /** Changes what `argument` names, such as { iops: '1000:50' }; "none" ends a limit. Throws CommandError. */
  change(argument: unknown): void {
    const { iops, bandwidth, ...others } = checkedObject(argument)
    for (const key of Object.keys(others)) throw new CommandError(`unknown key '${key}': iops and bandwidth`)
    this.apply({
      ...this.gate.limits,
      ...(iops !== undefined && { iops: refused('iops', () => parseIops(`${iops}`)) }),
      ...(bandwidth !== undefined && refused('bandwidth', () => parseBandwidth(`${bandwidth}`))),
    })
  }

  /** Puts the limits of a configuration in force, if they are others than those of the last one. */
  replace(limits: RateLimits): void {
    if (JSON.stringify(limits) === JSON.stringify(this.configured)) return
    this.configured = limits
    this.apply(limits)
  }

  report(): LimitsReport {
    const { limits, count, heldCount, heldMs } = this.gate
    return {
      iops: iopsWords(limits),
      bandwidth: bandwidthWords(limits),
      waiting: count,
      held: heldCount,
      heldSeconds: heldMs / 1000,
    }
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
