/**
 * The program of a share that is alone in its process, on the main thread: a thread of its own would double the memory and
 * the time to start.
 */
import { mayPass, runShare } from './share-program.js'
import type { Milestone, WorkerMessage, WorkerStart } from './worker-messages.js'

/** `changed` resolves after the next change of the word at `allowed`. Resolves when the share has ended. */
export function runOnMainThread(
  start: WorkerStart,
  tell: (message: WorkerMessage) => void,
  changed: () => Promise<void>,
): Promise<void> {
  const allowed = new Int32Array(start.allowed)
  const reach = async (milestone: Milestone): Promise<boolean> => {
    const next = changed()
    tell({ type: 'milestone', milestone })
    const may = mayPass(Atomics.load(allowed, 0), milestone)
    if (may !== undefined) return may
    await next
    return mayPass(Atomics.load(allowed, 0), milestone) === true
  }
  const reachTaken = () => {
    throw new Error('a share on the main thread takes over from no other process')
  }
  return runShare(start, { tell, reach, reachTaken })
}
