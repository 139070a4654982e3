import { strict as assert } from 'node:assert'
import type { Test } from 'tap'
import { FuseError } from './fuse-client.js'

/** The errno's name that `work` fails with. */
export function errorOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof FuseError) return error.code
    throw error
  }
  return 'no error'
}

/** `work` fails with the error of that name. */
export function fails(code: string, work: () => unknown, message = work.toString()): void {
  assert.equal(errorOf(work), code, message)
}

/** The same, as an assertion of the test runner. */
export function refused(t: Test, code: string, work: () => unknown, message = work.toString()): void {
  t.equal(errorOf(work), code, message)
}
