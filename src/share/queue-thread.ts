import { performance } from 'node:perf_hooks'
import { receiveMessageOnPort } from 'node:worker_threads'
import { FaultLog, type Logger, ProtocolError, QueueBackend, Wakeup } from 'vhost-user-ts'
import { Counters } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { OpenRules } from '../io-mode/open-rules.js'
import { noRateLimits } from '../limits/rate-words.js'
import { prepareOwnThread } from '../passthrough/own-thread.js'
import { breakTables } from '../passthrough/shared/table-memory.js'
import { makeFsDevice, type ShareDevice } from './make-fs-device.js'
import {
  COUNTED,
  IN_FLIGHT,
  type QueueThreadNews,
  type QueueThreadOrder,
  type QueueThreadStart,
  STATE,
  ThreadState,
  WAITING,
} from './queue-thread-messages.js'
import type { ShareConfig } from './share-config.js'
import { makeLogger } from './share-logger.js'

type ServeOrder = Extract<QueueThreadOrder, { type: 'serve' }>
type StandOrder = Extract<QueueThreadOrder, { type: 'stand' }>

/** Runs a thread that serves request queues of a share for the share's first thread, its owner. Returns when it is to end. */
export function serveQueues(start: QueueThreadStart): void {
  const state = new Int32Array(start.state)
  const news = new Wakeup(start.newsFd)
  const tell = (message: QueueThreadNews) => {
    start.port.postMessage(message)
    news.send()
  }
  try {
    new Wakeup(start.endFd).sendAtEnd()
    prepareOwnThread(start.procFd)
    new QueueThread(start, state, tell).serve()
  } catch (error) {
    const hasBegun = Atomics.load(state, STATE) !== ThreadState.Starting
    tell({ type: 'failed', error: error instanceof Error ? error : new Error(String(error)), hasBegun })
    // After that: the owner, which may fail by this, then knows why. Before it was ready, the thread has changed nothing.
    if (hasBegun) breakTables(start.tables)
  } finally {
    Atomics.store(state, STATE, ThreadState.Ended)
    Atomics.notify(state, STATE)
    start.port.close()
  }
}

class QueueThread {
  private readonly share: ShareDevice
  private readonly backend: QueueBackend
  private readonly logger: Logger

  constructor(
    private readonly start: QueueThreadStart,
    private readonly state: Int32Array,
    private readonly tell: (message: QueueThreadNews) => void,
  ) {
    const { config, rootFd, procFd, fdLimit, counters, tables, queueThread, orderFd } = start
    const leastLevel = new Int32Array(start.leastLevel)
    this.logger = makeLogger(
      () => Atomics.load(leastLevel, 0),
      (message) => message.type === 'log' && tell(message),
    )
    const faults = new FaultLog(this.logger)
    this.share = makeFsDevice(
      unlimited(config),
      {
        // A name in the directory in which the thread works.
        root: `${rootFd}`,
        procFd,
        fdLimit: new Int32Array(fdLimit),
        counters: new Counters(counters),
        // What the share holds is counted by its owner, if at all.
        isCounted: true,
        shared: {
          memory: tables,
          thread: queueThread,
          isAlone: () => false,
          needsOneThread: (reason) => tell({ type: 'needs-one-thread', reason }),
          // The owner does, and breaks the lock.
          checkOthers: () => {},
        },
      },
      new OpenRules(config, config.rules),
      { agreed: () => {}, fault: (kind, fields) => faults.warn(kind, fields) },
    )
    this.share.session.leave = () => tell({ type: 'needs-owner' })
    const { pollUs } = config
    this.backend = new QueueBackend(this.share.device, { pollUs, logger: this.logger }, () =>
      tell({ type: 'memory-lost' }),
    )
    new Wakeup(orderFd).receive(this.backend.loop, () => this.obey())
  }

  serve(): void {
    const { backend, share } = this
    Atomics.store(this.state, STATE, ThreadState.Standing)
    this.tell({ type: 'ready' })
    backend.run()
    backend.close()
    share.close()
    backend.loop.close()
  }

  private obey(): void {
    for (;;) {
      const got = receiveMessageOnPort(this.start.port)
      if (got === undefined) return
      // The owner sends only orders on this port.
      const order = got.message as QueueThreadOrder
      if (order.type === 'serve') this.take(order)
      else if (order.type === 'stand') this.stand(order)
      else if (order.type === 'count') this.count(order.asked)
      else this.backend.stop()
    }
  }

  private take({ lent, agreement, settings }: ServeOrder): void {
    const { share, backend } = this
    if (settings !== undefined) share.change(unlimited(settings))
    if (agreement !== undefined) share.session.resume(agreement)
    try {
      backend.take(lent)
    } catch (error) {
      // The front-end has done something to its memory since the owner has mapped it.
      if (!(error instanceof ProtocolError)) throw error
      this.tell({ type: 'needs-one-thread', reason: messageOf(error) })
    }
  }

  private count(asked: number): void {
    const { state, backend } = this
    Atomics.store(state, IN_FLIGHT, backend.inFlightCount)
    Atomics.store(state, WAITING, backend.waitingCount)
    Atomics.store(state, COUNTED, asked)
    Atomics.notify(state, COUNTED)
  }

  private stand({ asked, limitMs, mayServeOn, givenUp }: StandOrder): void {
    const { backend, state, share } = this
    // The owner did not want to wait any longer.
    if (Atomics.load(state, STATE) !== asked) return
    let rings = backend.suspend(performance.now() + limitMs)
    if (rings === undefined && mayServeOn) {
      Atomics.compareExchange(state, STATE, asked, ThreadState.Serving)
      Atomics.notify(state, STATE)
      return
    }
    rings ??= backend.end()
    if (Atomics.compareExchange(state, STATE, asked, ThreadState.Answering) !== asked) {
      backend.goOn()
      return
    }
    backend.giveBack()
    if (givenUp.memory) backend.dropMemory()
    if (givenUp.session) share.session.end()
    this.start.port.postMessage({ type: 'stands', asked, rings } satisfies QueueThreadNews)
    Atomics.store(state, STATE, ThreadState.Standing)
    Atomics.notify(state, STATE)
  }
}

/** The owner serves a guest whose requests are limited, and commands change its limits alone. */
function unlimited(config: ShareConfig): ShareConfig {
  return { ...config, rateLimits: noRateLimits }
}
