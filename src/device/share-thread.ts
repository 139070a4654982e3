import { Worker } from 'node:worker_threads'
import type { WorkerMessage, WorkerStart } from './worker-messages.js'

/** What the main thread hears of a share. */
export interface ShareEvents {
  message(message: WorkerMessage): void
  /** The thread failed: a bug here, or a host that took the share away. */
  failed(error: Error): void
}

/** Starts the thread that serves a share on a listening socket, which it takes over. */
export function startShare(start: WorkerStart, events: ShareEvents): void {
  const worker = new Worker(new URL('./share-worker.js', import.meta.url), { workerData: start })
  worker.on('message', (message: WorkerMessage) => events.message(message))
  worker.on('error', (error) => events.failed(error))
}
