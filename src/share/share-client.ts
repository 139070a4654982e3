import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { Wakeup } from 'vhost-user-ts'
import { CounterBlocks } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { TraceFile } from '../inspect/trace-file.js'
import type { ShareConfig } from './share-config.js'
import type { RunningProgram, ShareThread } from './share-threads.js'
import {
  GIVEN_UP,
  type LogLevel,
  type Milestone,
  milestones,
  type ShareChangeName,
  type ShareCommandName,
  type WorkerMessage,
  type WorkerStart,
} from './worker-messages.js'

/** The events of a share, for the main thread. */
export interface ShareEvents {
  log(level: LogLevel, fields: object, text: string): void
  /**
   * The share waits for its first front-end. `engine`: the engine that waits for the host, so the share's thread need not.
   */
  listening(engine: string | undefined): void
  /** The last front-end has left. */
  ended(): void
  /** The share failed: a bug here, or a host that took it away. */
  failed(error: Error): void
}

/** The resources of a share. */
export interface SharePlace {
  /** The shared directory and the trace's file, as paths that this process sees once it is confined. */
  readonly root: string
  readonly trace: string | undefined
  /** A listening socket; the share takes ownership. -1: it comes over `successionFd`. */
  readonly listenFd: number
  /** The socket over which another process hands the share over; undefined: the share begins by itself. */
  readonly successionFd?: number | undefined
  /** True: what its tree holds comes along. */
  readonly isCounted?: boolean
  /** O_PATH on /proc/self/fd. The caller keeps ownership. */
  readonly procFd: number
  /** See WorkerStart. */
  readonly fdLimit: SharedArrayBuffer
}

/** Latencies are counted for this long after they were last asked for. */
const TIMED_MS = 10_000

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

/** A share on its thread, seen from the main thread. */
export class ShareClient {
  readonly counters: CounterBlocks
  /** Resolves when the share is gone, some time after it has ended. */
  readonly exited: Promise<void>
  private readonly wakeup = new Wakeup()
  private readonly port: MessagePort
  private readonly waiting = new Map<number, Waiting>()
  private readonly traceAcks = new Int32Array(new SharedArrayBuffer(4))
  private readonly traceFile: TraceFile | undefined
  private readonly allowed = new Int32Array(new SharedArrayBuffer(4))
  private readonly milestones = new Map<Milestone, Waiting>()
  private readonly reaching: Readonly<Record<Milestone, Promise<unknown>>>
  /** Why nothing can be asked of the share any more. */
  private over: Error | undefined
  private nextId = 1
  private readonly program: RunningProgram
  private timing: NodeJS.Timeout | undefined
  /** The total time that commands have taken on its thread. */
  busyMs = 0

  /** Starts the share on `thread`. It stops at each milestone until it is allowed on. */
  constructor(
    thread: ShareThread,
    config: ShareConfig,
    { root, trace, listenFd, successionFd, isCounted = false, procFd, fdLimit }: SharePlace,
    logLevel: string,
    private readonly events: ShareEvents,
  ) {
    this.counters = new CounterBlocks(config.queueThreads)
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    // The port must not keep this process alive.
    port1.unref()
    this.traceFile = trace === undefined ? undefined : new TraceFile(trace)
    this.reaching = {
      loaded: this.milestone('loaded'),
      prepared: this.milestone('prepared'),
      taken: this.milestone('taken'),
    }
    const start: WorkerStart = {
      config,
      root,
      procFd,
      listenFd,
      successionFd,
      isCounted,
      fdLimit,
      logLevel,
      commandPort: port2,
      commandFd: this.wakeup.fd,
      counters: this.counters.memory,
      traceAcks: this.traceAcks.buffer,
      allowed: this.allowed.buffer,
    }
    this.program = thread.run(start, (message) => this.handle(message))
    this.exited = this.program.gone
      .catch((error: Error) => this.fail(error))
      .finally(() => {
        this.end(new Error('the share has ended'))
        this.wakeup.close()
        this.port.close()
      })
  }

  /** True if nothing can be asked of it any more. */
  get hasEnded(): boolean {
    return this.over !== undefined
  }

  /** Counts latencies until they have not been asked for for a while, or without end if they are always counted. */
  timeForAWhile(): void {
    if (this.counters.isTimed && this.timing === undefined) return
    clearTimeout(this.timing)
    this.counters.isTimed = true
    this.timing = setTimeout(() => {
      this.counters.isTimed = false
      this.timing = undefined
    }, TIMED_MS).unref()
  }

  private milestone(name: Milestone): Promise<unknown> {
    const promise = new Promise((resolve, reject) => this.milestones.set(name, { resolve, reject }))
    // A failure reaches those who wait; without them it must not become an unhandled rejection.
    promise.catch(() => {})
    return promise
  }

  /** Resolves when the share has reached a milestone and waits there. Rejects if it fails before. */
  async reached(milestone: Milestone): Promise<void> {
    await this.reaching[milestone]
  }

  /** Lets the share continue past a milestone. */
  allow(milestone: Milestone): void {
    this.setAllowed(milestones.indexOf(milestone) + 1)
  }

  /** Ends a share that waits at a milestone. */
  giveUp(): void {
    this.setAllowed(GIVEN_UP)
  }

  private setAllowed(value: number): void {
    Atomics.store(this.allowed, 0, value)
    Atomics.notify(this.allowed, 0)
    this.program.allowed()
  }

  /** Asks the share something. Rejects with what is wrong with the question, or when the share has ended. */
  ask(name: ShareCommandName | ShareChangeName, argument: unknown): Promise<unknown> {
    if (this.over !== undefined) return Promise.reject(this.over)
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject })
      this.port.postMessage({ id, name, argument })
      this.wakeup.send()
    })
  }

  private handle(message: WorkerMessage): void {
    switch (message.type) {
      case 'milestone':
        this.milestones.get(message.milestone)?.resolve(undefined)
        break
      case 'refused':
        this.milestones.get('taken')?.reject(new Error(message.reason))
        break
      case 'log':
        this.events.log(message.level, message.fields, message.text)
        break
      case 'listening':
        this.events.listening(message.engine)
        break
      case 'ended':
        this.traceFile?.close()
        this.end(new Error('the share has ended'))
        this.events.ended()
        break
      case 'answer':
        this.busyMs += message.tookMs
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
      this.events.log('error', { reason: messageOf(error) }, 'the trace cannot be written')
    }
    Atomics.add(this.traceAcks, 0, 1)
  }

  /** The share no longer answers. */
  private end(why: Error): void {
    this.over ??= why
    for (const { reject } of this.waiting.values()) reject(this.over)
    this.waiting.clear()
  }

  private fail(error: Error): void {
    this.end(error)
    for (const { reject } of this.milestones.values()) reject(error)
    this.events.failed(error)
  }
}
