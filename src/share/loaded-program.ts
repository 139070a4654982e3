import { MessageChannel, type TransferListItem, Worker } from 'node:worker_threads'
import './v8-flags.js'

/** The program of a thread, in memory. */
export interface LoadedProgram {
  readonly text: string
  /** V8's code for the text, once a thread has compiled it: the next one starts in less processor time. */
  code?: Uint8Array | undefined
  /** The addon's file, by the name under which it is loaded. */
  readonly nativePath: string
}

/**
 * Runs a loaded program. Worker's own `eval` would parse all of it twice, and keep nothing. The code is taken in a microtask:
 * the program of a single share has opened everything by then, and compiled what that needs. A block, because the program
 * sees what a script declares outside of one. A thread for queues that fails here says so over its port: the thread that has
 * started it may block, and hears of nothing else.
 */
const LOADER = `{
  const { workerData } = require('node:worker_threads')
  const { Script } = require('node:vm')
  const { writeSync } = require('node:fs')
  const { text, code, codePort, queueThread, port, endFd } = workerData
  try {
    const script = new Script(text, { filename: 'share-worker.cjs', cachedData: code })
    script.runInThisContext()
    if (codePort !== undefined && (code === undefined || script.cachedDataRejected))
      queueMicrotask(() => codePort.postMessage(script.createCachedData()))
    else codePort?.close()
  } catch (error) {
    if (queueThread !== undefined) {
      port.postMessage({ type: 'failed', error, hasBegun: false })
      writeSync(endFd, BigUint64Array.of(1n))
    }
    throw error
  }
}`

/** Starts a thread that runs a loaded program. Throws if the host allows no more threads. */
export function startLoaded(
  loaded: LoadedProgram,
  data: object,
  transferList: readonly TransferListItem[],
): Worker {
  return new Worker(LOADER, {
    eval: true,
    workerData: { ...data, ...loaded },
    transferList: [...transferList],
  })
}

/** The same. V8's code of the program, as the thread has compiled it, is kept for the next one. */
export function startAndLearn(
  loaded: LoadedProgram,
  data: object,
  transferList: readonly TransferListItem[],
): Worker {
  const { port1, port2 } = new MessageChannel()
  port1.once('message', (code: Uint8Array) => {
    loaded.code = code
    port1.close()
  })
  port1.unref()
  return startLoaded(loaded, { ...data, codePort: port2 }, [...transferList, port2])
}
