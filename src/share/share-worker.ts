/** The thread of one share. */
import { parentPort, workerData } from 'node:worker_threads'
import { prepareOwnThread } from '../passthrough/own-thread.js'
import { loadFileSystem } from './load-file-system.js'
import { ShareService } from './share-service.js'
import { type Milestone, milestones, type WorkerMessage, type WorkerStart } from './worker-messages.js'

// ShareThread starts this worker with this data.
const start = workerData as WorkerStart
const allowed = new Int32Array(start.allowed)
const tell = (message: WorkerMessage) => parentPort?.postMessage(message)

/** Reports a milestone and waits until the thread may continue. */
function reach(milestone: Milestone): void {
  tell({ type: 'milestone', milestone })
  const needed = milestones.indexOf(milestone) + 1
  for (let now = Atomics.load(allowed, 0); now < needed; now = Atomics.load(allowed, 0)) {
    Atomics.wait(allowed, 0, now)
  }
}

const { config } = start
const sharedDir = config.givesDirectory ? config.directory : undefined
// A module may read whatever it needs: the host's file system is still there.
const own = config.fileSystem && (await loadFileSystem(config.fileSystem, { sharedDir }))
reach('loaded')
prepareOwnThread(start.procFd)
const service = new ShareService(start, tell, own)
reach('prepared')
await service.serve()
