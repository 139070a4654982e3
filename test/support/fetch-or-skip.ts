import type { Test } from 'tap'
import { SetupError } from '../../vm/host/setup-error.js'
import { type BundleName, fetchBundle } from '../../vm/packages/bundle.js'

/** Fetches a bundle. Skips the test if this machine cannot have it; any other error is a failure. */
export async function fetchOrSkip(t: Test, name: BundleName): Promise<string | undefined> {
  try {
    return await fetchBundle(name)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    t.pass(`skipped: ${name} cannot be fetched: ${error.message}`, { skip: true })
    return undefined
  }
}
