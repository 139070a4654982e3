import { strict as assert } from 'node:assert'
import type { Test } from 'tap'
import { FuseError } from './fuse-client.js'

/** Returns the name of the errno that `work` fails with. */
export function errorOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof FuseError) return error.code
    throw error
  }
  return 'no error'
}

/** Checks that `work` fails with the error of that name. */
export function fails(code: string, work: () => unknown, message = work.toString()): void {
  assert.equal(errorOf(work), code, message)
}

/** Makes the same check as an assertion of the test runner. */
export function refused(t: Test, code: string, work: () => unknown, message = work.toString()): void {
  t.equal(errorOf(work), code, message)
}
