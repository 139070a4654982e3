import type { HandedRegion } from '../memory/guest-memory.js'
import type { RingAddresses } from '../rings/ring-layout.js'

/** A queue that was set up, with the requests that were taken from it and not answered. */
export interface HandedRing {
  readonly index: number
  readonly size: number
  readonly base: number
  readonly enabled: boolean
  readonly addresses: RingAddresses | null
  /** True for each descriptor that comes along. */
  readonly kick: boolean
  readonly call: boolean
  readonly err: boolean
  /** The heads of the requests to be served from their beginning. */
  readonly inFlight: readonly number[]
}

/** A connection with a front-end that another process goes on with: plain data, which JSON can carry. */
export interface HandedSession {
  /** Agreed features, in hexadecimal. */
  readonly features: string
  readonly protocolFeatures: string
  /** The part of a message that has come, in base64, and its descriptors. */
  readonly received: string
  readonly receivedFds: number
  readonly backchannel: boolean
  readonly regions: readonly HandedRegion[]
  readonly rings: readonly HandedRing[]
}

/**
 * A session and its descriptors, in this order: the connection; those of the message that has not come whole; the
 * channel of the back-end; each region's; and of each ring those for kicks, calls and errors.
 */
export interface HandedConnection {
  readonly session: HandedSession
  readonly fds: readonly number[]
}

/** Takes the descriptors of a handed connection one by one. */
export class HandedFds {
  private at = 0

  /** Owns `fds` from now on. */
  constructor(private readonly fds: readonly number[]) {}

  /** Returns the next descriptor, which the caller then owns. Throws RangeError if there is none. */
  take(): number {
    const fd = this.fds[this.at]
    if (fd === undefined) throw new RangeError('a descriptor of the connection is missing')
    this.at++
    return fd
  }

  takeIf(is: boolean): number {
    return is ? this.take() : -1
  }
}
