/**
 * What a process and its successor tell each other, as JSON in packets: see PacketSocket. In this order:
 *
 *   offer    from the process that serves, with its sockets
 *   ready    from the successor, which has started, with a socket for each share. Only now the shares are suspended
 *   taken    from the successor: it has everything, and touches nothing yet
 *   go       the process that serves has decided, and never serves again
 *   begun    from the successor, before it serves
 *
 * `refused`, from the successor, or the end of the connection before `go` leaves everything as it was.
 */
import type { Configuration } from '../config/configuration.js'
import { metricsWords } from '../config/metrics-address.js'
import type { OptionName } from '../config/option-table.js'
import { UserError } from '../config/user-error.js'
import { inheritedFd } from '../sandbox/inherited-fd.js'
import type { Packet, PacketSocket } from '../sockets/packet-socket.js'
import { keyOf } from './share-key.js'
import { SUCCESSION_VARIABLE } from './succession-variable.js'

/** The version of these messages. A successor of another one refuses. */
export const SUCCESSION_VERSION = 1

/** The descriptors come along: the control socket's, that for metrics, and the mount namespace's, as far as there are. */
export interface Offer {
  readonly op: 'offer'
  readonly version: number
  readonly place: Place
  readonly hasMounts: boolean
  /** The shares whose states say what their trees hold, by their sockets. Versions before this have nothing here. */
  readonly counted?: readonly string[]
}

/** What both processes must have in common. */
export interface Place {
  /** The sockets of the shares. */
  readonly shares: readonly string[]
  readonly control: string | null
  readonly metrics: string | null
  readonly sandbox: string
}

export type SuccessionMessage =
  | Offer
  /** `shares`: the shares whose sockets come along, in the same order. */
  | { readonly op: 'ready'; readonly shares: readonly string[] }
  | { readonly op: 'refused'; readonly reason: string }
  | { readonly op: 'taken' }
  | { readonly op: 'go' }
  | { readonly op: 'begun' }

export function placeOf({
  shares,
  controlSocket,
  metrics,
  sandbox,
}: Pick<Configuration, 'shares' | 'controlSocket' | 'metrics' | 'sandbox'>): Place {
  return {
    shares: shares.map(keyOf).sort(),
    control: controlSocket ?? null,
    metrics: metrics === undefined ? null : metricsWords(metrics),
    sandbox,
  }
}

/**
 * Throws UserError if a successor of this configuration cannot serve at another one's place. It may have more shares: those
 * that were removed from the process that serves.
 */
export function mustServeAt(own: Place, offered: Place): void {
  const missing = offered.shares.find((key) => !own.shares.includes(key))
  if (missing !== undefined)
    throw new UserError(`the options have no share at ${missing}, which is served: sockets cannot change`)
  const [name] = (['control', 'metrics', 'sandbox'] as const).filter((key) => own[key] !== offered[key])
  if (name === undefined) return
  const [before, now] = [offered[name], own[name]].map((value) => JSON.stringify(value))
  throw new UserError(`--${optionsOfPlace[name]} cannot change in a replacement: ${before}, now ${now}`)
}

/** The options of a process that a successor has to have, too. */
export const optionsOfPlace = {
  control: 'control-socket',
  metrics: 'metrics',
  sandbox: 'sandbox',
} as const satisfies Partial<Record<keyof Place, OptionName>>

/** Returns the descriptor of the socket to the process that serves, or undefined if this one is no successor. */
export function successionFd(): number | undefined {
  return inheritedFd(SUCCESSION_VARIABLE)
}

export function sendTo(socket: PacketSocket, message: SuccessionMessage, fds: readonly number[] = []): void {
  socket.send(JSON.stringify(message), fds)
}

export function messageIn({ text }: Packet): SuccessionMessage {
  // The other process runs our program, in this version or in another one that knows these messages.
  return JSON.parse(text) as SuccessionMessage
}
