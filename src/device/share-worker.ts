/** The thread of one share. */
import { parentPort, workerData } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'
import { ShareService } from './share-service.js'
import type { WorkerStart } from './worker-messages.js'

// New files get exactly the mode that the guest asked for: from here on this thread's umask is its own.
native.detachFs()
native.umask(0)

new ShareService(workerData as WorkerStart, (message) => parentPort?.postMessage(message)).serve()
