/** The thread of one share. */
import { parentPort, workerData } from 'node:worker_threads'
import { mayPass, runShare } from './share-program.js'
import type { Milestone, WorkerMessage, WorkerStart } from './worker-messages.js'

// ShareThread starts this worker with this data.
const start = workerData as WorkerStart
const allowed = new Int32Array(start.allowed)
const tell = (message: WorkerMessage) => parentPort?.postMessage(message)

function reach(milestone: Milestone): boolean {
  tell({ type: 'milestone', milestone })
  for (;;) {
    const seen = Atomics.load(allowed, 0)
    const may = mayPass(seen, milestone)
    if (may !== undefined) return may
    Atomics.wait(allowed, 0, seen)
  }
}

// A rejection ends this thread, and the main thread hears of it as an error. No top-level await: the thread of a share
// that is added later runs this as one script.
runShare(start, { tell, reach, reachTaken: () => reach('taken') })
