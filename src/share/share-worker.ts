/** A thread of one share, which may block, or of its queues, or of several shares, which take turns in Node's event loop. */
import { parentPort, workerData } from 'node:worker_threads'
import { Neighbours } from 'vhost-user-ts'
import { serveQueues } from './queue-thread.js'
import type { QueueThreadStart } from './queue-thread-messages.js'
import { mayPass, runShare, runShareFromNode } from './share-program.js'
import type {
  Milestone,
  SharedThreadNews,
  SharedThreadOrder,
  WorkerMessage,
  WorkerStart,
} from './worker-messages.js'

function serveOne(start: WorkerStart): void {
  const allowed = new Int32Array(start.allowed)
  const tell = (message: WorkerMessage) => parentPort?.postMessage(message)
  const block = (milestone: Milestone): boolean => {
    tell({ type: 'milestone', milestone })
    for (;;) {
      const seen = Atomics.load(allowed, 0)
      const may = mayPass(seen, milestone)
      if (may !== undefined) return may
      Atomics.wait(allowed, 0, seen)
    }
  }
  // A rejection ends this thread, and the main thread hears of it as an error.
  runShare(start, { tell, reach: block, block, neighbours: undefined })
}

function serveSeveral(): void {
  const neighbours = new Neighbours()
  /** By share: called when it may be allowed on. */
  const waiting = new Map<number, () => void>()
  const tell = (share: number, message: SharedThreadNews['message']) =>
    parentPort?.postMessage({ share, message } satisfies SharedThreadNews)
  parentPort?.on('message', (order: SharedThreadOrder) => {
    if (order.type === 'end') parentPort?.close()
    else if (order.type === 'allowed') waiting.get(order.share)?.()
    else {
      const { share, start } = order
      const changed = () => new Promise<void>((resolve) => waiting.set(share, resolve))
      const gone = (failed: Error | undefined) => {
        waiting.delete(share)
        tell(share, { type: 'gone', failed })
      }
      runShareFromNode(start, (message) => tell(share, message), changed, neighbours).then(
        () => gone(undefined),
        (error: unknown) => gone(error instanceof Error ? error : new Error(String(error))),
      )
    }
  })
}

// The threads' own classes start this worker with this data. No top-level await: the thread of a share that is added later
// runs this as one script.
const data = workerData as
  | QueueThreadStart
  | (WorkerStart & { readonly queueThread?: undefined })
  | { readonly queueThread?: undefined; readonly config?: undefined }
if (data.queueThread !== undefined) serveQueues(data)
else if (data.config === undefined) serveSeveral()
else serveOne(data)
