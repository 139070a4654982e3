import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { type MessagePort, Worker } from 'node:worker_threads'
import { addonPath, withNamedDirectory } from '../passthrough/own-thread.js'
import type { QueueThreadStart } from './queue-thread-messages.js'

/** The program of a share’s threads, as one script, for threads that start when this process sees no files any more. */
export class QueueProgram {
  private readonly fd: number

  /** `text`: the script, if it is in memory. Otherwise its file is opened now, and read when a thread starts. */
  constructor(private text: string | undefined) {
    this.fd = text === undefined ? openSync(new URL('../share/share-worker.cjs', import.meta.url), 'r') : -1
  }

  /** Starts a thread. It says all that the calling thread has to know over its port, since that thread may block. */
  start(data: QueueThreadStart, transferList: readonly MessagePort[]): void {
    this.text ??= this.read()
    const { text } = this
    withNamedDirectory(data.procFd, () => {
      const workerData = { ...data, nativePath: addonPath }
      new Worker(text, { eval: true, workerData, transferList: [...transferList] }).on('error', () => {})
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
