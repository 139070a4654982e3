import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import type { SwapperStart } from './swapper.js'

/** On a busy machine, so many times as many attempts. */
const MOST_TIMES = 20

/**
 * Calls `attempt` at least `tries` times while the host swaps. Returns the outcomes with their counts. A busy machine may keep the
 * swapper waiting: then there are more attempts, until one has met something else.
 */
export async function race(
  t: Test,
  places: Pick<SwapperStart, 'path' | 'others'>,
  tries: number,
  attempt: (n: number) => string,
): Promise<ReadonlyMap<string, number>> {
  const control = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(new URL('./swapper.js', import.meta.url), {
    workerData: { ...places, control } satisfies SwapperStart,
  })
  await new Promise((resolve) => worker.once('online', resolve))
  const outcomes = new Map<string, number>()
  for (let n = 0; n < tries || (outcomes.size < 2 && n < MOST_TIMES * tries); n++) {
    const outcome = attempt(n)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  Atomics.store(control, 0, 1)
  await new Promise((resolve) => worker.once('exit', resolve))
  t.comment(`${JSON.stringify([...outcomes])} under ${Atomics.load(control, 1)} swaps`)
  return outcomes
}
