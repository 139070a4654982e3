import { EIO, errnoNumber } from '../errno.js'

/** What a method of somebody's node threw, or was rejected with; or what was wrong with its answer. */
export class MethodError extends Error {
  override readonly name = 'MethodError'

  constructor(
    readonly method: string,
    cause: unknown,
  ) {
    super(`${method}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** The errno that an error stands for by its `code`; 0 when it stands for none. */
export function errnoOfError(error: unknown): number {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' ? (errnoNumber(code) ?? 0) : 0
}

/** How an error is answered, and whether nobody had meant it. */
export function describeError(error: unknown): { readonly errno: number; readonly isOwn: boolean } {
  const errno = errnoOfError(error)
  return errno > 0 ? { errno, isOwn: false } : { errno: EIO, isOwn: true }
}
