/** The thread of one share. */
import { parentPort, workerData } from 'node:worker_threads'
import { prepareOwnThread } from '../passthrough/own-thread.js'
import { loadFileSystem } from './load-file-system.js'
import { ShareService } from './share-service.js'
import {
  GIVEN_UP,
  type Milestone,
  milestones,
  type WorkerMessage,
  type WorkerStart,
} from './worker-messages.js'

// ShareThread starts this worker with this data.
const start = workerData as WorkerStart
const allowed = new Int32Array(start.allowed)
const tell = (message: WorkerMessage) => parentPort?.postMessage(message)

/** Reports a milestone and waits until the thread may continue. Returns false if it is not wanted any more. */
function reach(milestone: Milestone): boolean {
  tell({ type: 'milestone', milestone })
  const needed = milestones.indexOf(milestone) + 1
  for (let now = Atomics.load(allowed, 0); now < needed; now = Atomics.load(allowed, 0)) {
    if (now === GIVEN_UP) return false
    Atomics.wait(allowed, 0, now)
  }
  return true
}

async function run(): Promise<void> {
  const { config } = start
  const sharedDir = config.givesDirectory ? config.directory : undefined
  // A module may read whatever it needs: the host's file system is still there.
  const own = config.fileSystem && (await loadFileSystem(config.fileSystem, { sharedDir }))
  if (!reach('loaded')) return
  prepareOwnThread(start.procFd)
  const service = new ShareService(start, tell, own)
  if (reach('prepared')) await service.serve(() => reach('taken'))
  else service.giveUp()
}

// A rejection ends this thread, and the main thread hears of it as an error. No top-level await: the thread of a share
// that is added later runs this as one script.
run()
