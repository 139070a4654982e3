import { performance } from 'node:perf_hooks'
import { type AsyncBackend, type Backend, type EventLoop, type Listener, StateError } from 'vhost-user-ts'
import { closeDescriptor } from '../passthrough/descriptors.js'
import type { Arrivals } from './arrivals.js'
import { CommandError } from './command-arguments.js'
import { type HandedShare, handOver, monotonicMs, REQUESTS_LIMIT_MS } from './hand-over.js'
import type { QueueThreads } from './queue-threads.js'
import type { ShareState } from './share-state.js'
import type { HandOver } from './worker-messages.js'

/** The parts of a share that matter when it goes to another process. */
export interface HandedParts {
  /** Undefined for a file system of a module. */
  readonly state: ShareState | undefined
  readonly arrivals: Arrivals
  readonly loop: EventLoop
  readonly queueThreads: QueueThreads | undefined
  /** Undefined until the share serves. */
  readonly backend: Backend | AsyncBackend | undefined
  /** Undefined until it comes from the process before. */
  readonly listener: Listener | undefined
}

/** Hands a share to another process, or lets it serve on. */
export class HandingOver {
  constructor(private readonly parts: HandedParts) {}

  /** Sends the share over `fd`. Throws CommandError, or rejects with it, if it serves on. A promise in Node's loop. */
  send({ fd, limitMs }: HandOver): object | Promise<object> {
    const untilMs = performance.now() + limitMs
    const suspendedMs = monotonicMs()
    const patienceMs = Math.min(limitMs, REQUESTS_LIMIT_MS)
    const sendRest = (connection: HandedShare['connection']) =>
      this.orServeOn(fd, () => this.sendSuspended(fd, untilMs, connection, suspendedMs))
    const suspended = this.orServeOn(fd, () => this.suspend(patienceMs))
    if (!(suspended instanceof Promise)) return sendRest(suspended)
    return suspended.then(sendRest, (error) =>
      this.orServeOn(fd, () => {
        throw error
      }),
    )
  }

  /** The other process has not taken the share. */
  serveOn(): object {
    const { backend, queueThreads, arrivals } = this.parts
    backend?.resume()
    queueThreads?.lendSoon()
    arrivals.listenAgain()
    return {}
  }

  private suspend(patienceMs: number): HandedShare['connection'] | Promise<HandedShare['connection']> {
    const { state, listener, arrivals, queueThreads, backend } = this.parts
    if (listener === undefined) throw new CommandError('the share has not come from the process before yet')
    if (state === undefined) throw new CommandError('a file system of a module cannot be handed over')
    if (arrivals.hasOne) throw new CommandError('a front-end has just connected: ask again')
    if (queueThreads?.takeBackWithin(patienceMs) === false)
      throw new StateError('requests under way did not end in time')
    return backend?.suspend(patienceMs)
  }

  private sendSuspended(
    fd: number,
    untilMs: number,
    connection: HandedShare['connection'],
    suspendedMs: number,
  ): object {
    const { state, listener, loop } = this.parts
    if (state !== undefined && listener !== undefined) {
      handOver(state, { connection, listenFd: listener.fd, suspendedMs }, fd, untilMs)
      loop.remove(listener.fd)
    }
    closeDescriptor(fd)
    return {}
  }

  /** Carries out a step. If that cannot be, closes `fd`, and serves on. */
  private orServeOn<T>(fd: number, step: () => T): T {
    try {
      return step()
    } catch (error) {
      closeDescriptor(fd)
      if (!(error instanceof StateError)) throw error
      this.serveOn()
      throw new CommandError(error.message)
    }
  }
}
