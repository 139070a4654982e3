import { isDeeperThan } from '../basics/levels.js'

/** The longest line of a client, in characters. */
export const MAX_LINE_LENGTH = 64 * 1024

/** No command takes more. */
const MAX_LEVELS = 32

/** A parsed request of a control client. */
export interface ControlRequest {
  readonly command: string
  /** Required if the process has several shares. */
  readonly share?: string | undefined
  readonly argument?: unknown
}

/** The message for a longer line. */
export const tooLong = `a line has at most ${MAX_LINE_LENGTH} characters`

/** Parses a line of a client. `id` comes back with the answer. Throws an Error whose message is for the client. */
export function parseRequest(line: string): ControlRequest & { readonly id?: unknown } {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new Error('not a line of JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('a request is an object')
  // The value is an object of unknown shape; the checks below look at each field.
  const { id, command, share, argument } = value as Readonly<Record<string, unknown>>
  if (isDeeperThan(MAX_LEVELS, value)) throw new Error(`a request has at most ${MAX_LEVELS} levels`)
  if (typeof command !== 'string') throw new Error('a request has a command')
  if (share !== undefined && typeof share !== 'string') throw new Error('share is a name')
  return { id, command, share, argument }
}
