/**
 * A device, in a worker, that delays the first request, and delays the second until its driver knows about the first.
 */
import { workerData } from 'node:worker_threads'
import { serve } from 'vhost-user-ts'

/** Words of `flags`, 0 or 1. */
export const KNOWS_OF_FIRST = 0
export const SECOND_IS_SERVED = 1

export interface SlowDeviceData {
  readonly socketPath: string
  readonly flags: Int32Array
  readonly firstMs: number
  readonly secondAtMostMs: number
}

/** Also imported for its constants. */
if (workerData !== null) {
  const { socketPath, flags, firstMs, secondAtMostMs } = workerData as SlowDeviceData
  let served = 0
  serve(socketPath, {
    name: 'slow',
    queueCount: 1,
    process() {
      Atomics.wait(flags, KNOWS_OF_FIRST, 0, served === 0 ? firstMs : secondAtMostMs)
      Atomics.store(flags, SECOND_IS_SERVED, served)
      return ++served
    },
  })
}
