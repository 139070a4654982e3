import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'
import { Counters } from '../fuse/counters.js'
import { TraceFile } from '../inspect/trace-file.js'
import type { ShareConfig } from './share-config.js'
import type { LogLevel, ShareCommandName, WorkerMessage, WorkerStart } from './worker-messages.js'

/** What the main thread hears of a share. */
export interface ShareEvents {
  log(level: LogLevel, fields: object, text: string): void
  /** Waiting for the first front-end. */
  listening(): void
  /** The last front-end has left. */
  ended(): void
  /** The thread failed: a bug here, or a host that took the share away. */
  failed(error: Error): void
}

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

/** The thread that serves a share, as the main thread sees it. */
export class ShareThread {
  readonly counters = new Counters()
  private readonly commandFd: number
  private readonly port: MessagePort
  private readonly waiting = new Map<number, Waiting>()
  private readonly traceAcks = new Int32Array(new SharedArrayBuffer(4))
  private readonly traceFile: TraceFile | undefined
  private nextId = 1

  /** Starts the thread on a listening socket, which it takes over. */
  constructor(
    config: ShareConfig,
    listenFd: number,
    fdLimit: number,
    logLevel: string,
    private readonly events: ShareEvents,
  ) {
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    // The port itself must not keep this process alive.
    port1.unref()
    this.commandFd = native.eventfdCreate(native.constants.EFD_NONBLOCK)
    this.traceFile = config.trace === undefined ? undefined : new TraceFile(config.trace)
    const start: WorkerStart = {
      config,
      listenFd,
      fdLimit,
      logLevel,
      commandPort: port2,
      commandFd: this.commandFd,
      counters: this.counters.memory,
      traceAcks: this.traceAcks.buffer as SharedArrayBuffer,
    }
    const worker = new Worker(new URL('./share-worker.js', import.meta.url), {
      workerData: start,
      transferList: [port2],
    })
    worker.on('message', (message: WorkerMessage) => this.handle(message))
    worker.on('error', (error) => this.fail(error))
  }

  /** Asks the thread something. Rejects with what is wrong with the question. */
  ask(name: ShareCommandName, argument: unknown): Promise<unknown> {
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject })
      this.port.postMessage({ id, name, argument })
      native.eventfdSignal(this.commandFd)
    })
  }

  private handle(message: WorkerMessage): void {
    switch (message.type) {
      case 'log':
        this.events.log(message.level, message.fields, message.text)
        break
      case 'listening':
        this.events.listening()
        break
      case 'ended':
        this.traceFile?.close()
        this.events.ended()
        break
      case 'answer':
        this.answer(message.id, message.result, message.error)
        break
      case 'trace':
        this.writeTrace(message.chunk, message.first)
    }
  }

  private answer(id: number, result: unknown, error: string | undefined): void {
    const waiting = this.waiting.get(id)
    this.waiting.delete(id)
    if (error === undefined) waiting?.resolve(result)
    else waiting?.reject(new Error(error))
  }

  private writeTrace(chunk: Uint8Array, first: boolean): void {
    try {
      this.traceFile?.write(chunk, first)
    } catch (error) {
      this.events.log('error', { reason: (error as Error).message }, 'the trace cannot be written')
    }
    Atomics.add(this.traceAcks, 0, 1)
  }

  private fail(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error)
    this.waiting.clear()
    this.events.failed(error)
  }
}
