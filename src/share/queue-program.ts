import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { addonPath, withNamedDirectory } from '../passthrough/own-thread.js'
import { type LoadedProgram, startLoaded } from './loaded-program.js'
import type { QueueThreadStart } from './queue-thread-messages.js'
import type { WorkerStart } from './worker-messages.js'

/** The program of a share’s threads, as one script, for threads that start when this process sees no files any more. */
export class QueueProgram {
  private readonly fd: number
  private loaded: LoadedProgram | undefined

  /** `text`: the script, if it is in memory, with V8's code for it. Otherwise its file is opened now, and read for a thread. */
  constructor({ text, code }: Pick<WorkerStart, 'text' | 'code'>) {
    this.loaded = text === undefined ? undefined : { text, code, nativePath: addonPath }
    this.fd = text === undefined ? openSync(new URL('../share/share-worker.cjs', import.meta.url), 'r') : -1
  }

  /**
   * Starts a thread. It says all that the calling thread has to know over its port, since that thread may block. Throws if there
   * can be no more threads.
   */
  start(data: QueueThreadStart, transferList: readonly MessagePort[]): void {
    this.loaded ??= { text: this.read(), nativePath: addonPath }
    const { loaded } = this
    withNamedDirectory(data.procFd, () => {
      startLoaded(loaded, data, transferList).on('error', () => {})
    })
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd)
  }

  private read(): string {
    const bytes = Buffer.alloc(fstatSync(this.fd).size)
    for (let at = 0; at < bytes.length; ) {
      const count = readSync(this.fd, bytes, at, bytes.length - at, at)
      if (count === 0) throw new Error('the program of the threads is shorter than it was')
      at += count
    }
    return bytes.toString('utf8')
  }
}
