import { constants } from 'node:os'

/** A protocol fault of a peer. `code` is stable; `message` tells what was received and what would have been right. */
export type ProtocolErrorCode =
  /** The byte stream cannot be parsed any further: the connection ends. */
  | 'BAD_FRAME'
  /** A payload of the wrong length, or a field out of range. */
  | 'BAD_PAYLOAD'
  /** Too many or too few descriptors. */
  | 'BAD_FDS'
  /** A request that is unknown or was not negotiated. */
  | 'BAD_REQUEST'
  /** A queue that the device does not have. */
  | 'BAD_QUEUE'
  /** Memory that overlaps, does not exist, or cannot be mapped. */
  | 'BAD_MEMORY'
  /** Rings that lie outside guest memory or are not aligned. */
  | 'BAD_RING'
  /** A dirty log that is too small, or cannot be mapped. */
  | 'BAD_LOG'

/** A peer broke the protocol. The session decides between a refusal and closing the connection. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'

  constructor(
    readonly code: ProtocolErrorCode,
    message: string,
  ) {
    super(message)
  }
}

/** A device cannot save its state, or refuses one. The message is for the operator, on one line. */
export class StateError extends Error {
  override readonly name = 'StateError'
}

/** The host still carries requests out, so the device cannot be suspended now. */
export class RequestsUnderWay extends StateError {}

/** A system call that must not fail has failed; `result` is its negative errno. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError'
  readonly errno: number
  /** The name of `errno`, as errors of `node:fs` have it: "ENOENT". */
  readonly code: string

  constructor(call: string, result: number) {
    const [code = `errno ${-result}`] = Object.entries(constants.errno).find(([, n]) => n === -result) ?? []
    super(`${call} failed: ${code}`)
    this.errno = -result
    this.code = code
  }
}

/** Returns the value of a system call. Throws SystemCallError if it failed. */
export function mustSucceed(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, result)
  return result
}
