import type { EventLoop } from './event-loop.js'
import type { Logger } from './logger.js'
import type { LeftOutMarks } from './memory/dirty-log.js'
import type { Neighbours } from './neighbours.js'
import type { QueueKeeper } from './session/lent-queues.js'

export interface BackendOptions {
  /** The longest spin on the rings before the thread sleeps, in microseconds. Default 50; 0 never spins. */
  readonly pollUs?: number
  readonly logger?: Logger
  /** Polled together with the rings. Pass your own to add descriptors or to stop the back-end. */
  readonly loop?: EventLoop
  /** For tests of the dirty log: marks to leave out. */
  readonly leftOutMarks?: LeftOutMarks
  /** Lends queues to other threads: see QueueLender. */
  readonly queueKeeper?: QueueKeeper
}

export interface AsyncBackendOptions extends BackendOptions {
  /**
   * How long a stopping ring, or memory to be removed, waits for requests in flight before they are cancelled, in
   * milliseconds. The front-end waits as long. Default 2000. Give Infinity for a device that ends its requests in time by
   * itself: see `VhostUserDevice.hurry`.
   */
  readonly stopTimeoutMs?: number
  /**
   * False for a device whose requests in flight are completed without promises or other work of Node's loop. Default true:
   * while requests are in flight, that loop comes round after each batch.
   */
  readonly usesPromises?: boolean
  /** The devices on this thread, which take turns. Default: this one is alone. */
  readonly neighbours?: Neighbours
}
