import { inspect } from 'node:util'
import { EIO, errnoNumber } from '../errno.js'

/** An error thrown by a node's method, a rejected promise, or a fault in a method's result. */
export class MethodError extends Error {
  override readonly name = 'MethodError'

  constructor(
    readonly method: string,
    cause: unknown,
  ) {
    super(`${method}: ${cause instanceof Error ? cause.message : textOf(cause)}`, { cause })
  }
}

/** Any thrown value as text, an object without a prototype included. */
export function textOf(cause: unknown): string {
  return typeof cause === 'string' ? cause : inspect(cause)
}

/** The causes of an error that are shown. */
const MAX_CAUSES = 5

/** The stack of a thrown value, and those of its causes; other values than errors as text. */
export function traceOf(thrown: unknown): string {
  const traces: string[] = []
  for (let error = thrown; traces.length <= MAX_CAUSES; error = error.cause) {
    if (!(error instanceof Error)) {
      if (traces.length === 0 || error !== undefined) traces.push(textOf(error))
      break
    }
    traces.push(error.stack ?? error.message)
  }
  return traces.join('\ncaused by: ')
}

/** The errno named by an error's `code`, or 0 if it names none. */
export function errnoOfError(error: unknown): number {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' ? (errnoNumber(code) ?? 0) : 0
}

/** The errno for an error, and true in `isOwn` if the error names none: a fault of the file system. */
export function describeError(error: unknown): { readonly errno: number; readonly isOwn: boolean } {
  const errno = errnoOfError(error)
  return errno > 0 ? { errno, isOwn: false } : { errno: EIO, isOwn: true }
}
