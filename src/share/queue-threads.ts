import { performance } from 'node:perf_hooks'
import {
  type EventLoop,
  type GivenUp,
  type HandedRing,
  type Logger,
  type QueueKeeper,
  type QueueLender,
  Wakeup,
} from 'vhost-user-ts'
import type { InitAgreement } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { breakTables, type TableMemory } from '../passthrough/shared/table-memory.js'
import type { QueueProgram } from './queue-program.js'
import {
  type QueueCounts,
  QueueThreadClient,
  START_LIMIT_MS,
  type StartProgram,
} from './queue-thread-client.js'
import type { QueueThreadNews } from './queue-thread-messages.js'
import type { ShareConfig } from './share-config.js'
import type { WorkerStart } from './worker-messages.js'

/** Queues are lent when the front-end has been silent for so long: while a guest starts, each message would take them back. */
const SILENCE_MS = 50
/** The pause after an attempt that requests under way have spoilt. */
const AGAIN_MS = 200
const LEND_PATIENCE_MS = 20
/** Threads that stand still for a message wait so long for the host, before they give requests up. */
const HOST_PATIENCE_MS = 1000
/** A thread that has not begun to stand still by then is stuck in a system call. */
const STUCK_MS = 2 * HOST_PATIENCE_MS
/** The longest wait for numbers of requests: the share serves none of its own meanwhile. */
const COUNT_LIMIT_MS = 50
const NEVER = Number.POSITIVE_INFINITY

/** What the owner knows of its share. */
export interface QueueOwner {
  readonly backend: QueueLender
  readonly agreement: InitAgreement | undefined
  readonly config: ShareConfig
  /** The shared directory, as long as the share is served. */
  readonly rootFd: number
  /** Why one thread has to serve the guest for now. */
  readonly oneThreadReason: string | undefined
}

/** The threads of a share, for its operator. */
export interface QueueThreadsReport {
  readonly configured: number
  readonly inUse: number
  readonly oneThreadBecause: string | undefined
}

/**
 * The threads of a share’s request queues. The first one is the share’s own thread, the owner: it has the connection, the high
 * priority queue and its part of the request queues. It lends the other request queues to the other threads, and takes all of
 * them back whenever something happens that concerns more than one request. See docs/queue-threads.md.
 */
export class QueueThreads implements QueueKeeper {
  private readonly news = new Wakeup()
  private readonly leastLevel = new Int32Array(new SharedArrayBuffer(4))
  private threads: QueueThreadClient[] = []
  private dueMs = NEVER
  /** The request queues, as they were divided last. */
  private queues: readonly number[] = []
  /** Why the owner serves the rest of this session alone. */
  private collapsed: string | undefined
  /** A reason to do that soon. */
  private wanted: string | undefined
  private hasEnded = false
  /** Why there are too few threads. They are tried again in the next session. */
  private lacking: string | undefined

  constructor(
    private readonly start: WorkerStart,
    private readonly tables: TableMemory,
    private readonly owner: QueueOwner,
    private readonly loop: EventLoop,
    private readonly logger: Logger,
    private readonly program: QueueProgram,
  ) {
    this.news.receive(loop, () => this.hear())
  }

  /** A change of the least severe level to log. */
  set logLevel(level: number) {
    Atomics.store(this.leastLevel, 0, level)
  }

  messageComes(): void {
    this.lendLater(SILENCE_MS)
  }

  /** Takes all queues back, and lends them again later unless a reason against it has come. */
  takeBack(givenUp: GivenUp): void {
    this.standStill({ givenUp, limitMs: HOST_PATIENCE_MS, mayServeOn: false }, NEVER)
    if (givenUp.session) {
      this.collapsed = undefined
      this.lacking = undefined
    }
    this.lendLater(SILENCE_MS)
  }

  /** Takes all queues back for a while. Returns false if the host carries out requests that take longer. */
  takeBackWithin(patienceMs: number): boolean {
    const untilMs = performance.now() + patienceMs
    const givenUp = { memory: false, session: false }
    this.lendLater(SILENCE_MS)
    return this.standStill({ givenUp, limitMs: patienceMs, mayServeOn: true }, untilMs)
  }

  /**
   * Takes all queues back, unless a thread is in a system call that does not return. Then returns false after a while: that thread
   * has its queues still, and the others get theirs again.
   */
  takeBackUnlessStuck(): boolean {
    const stand = { givenUp: { memory: false, session: false }, limitMs: HOST_PATIENCE_MS, mayServeOn: false }
    this.lendLater(SILENCE_MS)
    return this.standStill(stand, performance.now() + STUCK_MS)
  }

  /** The owner serves everything until the session ends. */
  useOneThread(reason: string): void {
    if (this.collapsed === undefined) this.logger.info({ reason }, 'one thread serves the queues from now on')
    this.collapsed ??= reason
    this.takeBack({ memory: true, session: false })
  }

  /** Does that between two batches of requests. */
  useOneThreadSoon(reason: string): void {
    this.wanted ??= reason
    this.news.send()
  }

  /** Something has ended that kept the queues with the owner, or may have. */
  lendSoon(): void {
    this.lendLater(SILENCE_MS)
  }

  progress(nowMs: number): void {
    if (nowMs < this.dueMs) return
    this.dueMs = NEVER
    this.lend(nowMs)
  }

  nextDueMs(): number {
    return this.dueMs === NEVER ? -1 : Math.max(0, this.dueMs - performance.now())
  }

  /** Throws if another thread has died. */
  checkAlive(): void {
    for (const thread of this.threads) thread.checkAlive()
  }

  /** Returns the numbers of requests in flight, and on the rings, of all queues that are lent. */
  counts(): QueueCounts {
    const lent = this.threads.filter(({ isLent }) => isLent)
    for (const thread of lent) thread.askToCount()
    const untilMs = performance.now() + COUNT_LIMIT_MS
    const counts = lent.map((thread) => thread.counts(untilMs))
    const sum = (key: keyof QueueCounts) => counts.reduce((total, each) => total + each[key], 0)
    return { inFlight: sum('inFlight'), waiting: sum('waiting') }
  }

  report(): QueueThreadsReport {
    return {
      configured: this.start.config.queueThreads,
      inUse: 1 + this.threads.filter(({ isLent }) => isLent).length,
      oneThreadBecause: this.reason,
    }
  }

  /** Takes all queues back for good, and ends the threads. */
  end(): void {
    if (this.hasEnded) return
    this.takeBack({ memory: true, session: true })
    this.endThreads()
  }

  /** Ends the threads, wherever their queues are: the share has failed. */
  abandon(): void {
    if (this.hasEnded) return
    const { threads, logger } = this
    breakTables(this.tables)
    this.endThreads()
    for (const { failure } of threads)
      if (failure !== undefined)
        logger.error({ reason: failure.message }, 'a thread of the share’s queues has failed')
  }

  private endThreads(): void {
    this.hasEnded = true
    this.dueMs = NEVER
    for (const thread of this.threads) thread.end()
    const left = this.threads.filter((thread) => !thread.awaitEnd())
    this.threads = []
    this.loop.remove(this.news.fd)
    // A thread that the host holds up may still write to it.
    if (left.length === 0) this.news.close()
    this.program.close()
  }

  private get reason(): string | undefined {
    const { owner, collapsed, hasEnded, threads } = this
    if (hasEnded) return 'the share ends'
    if (this.lacking !== undefined) return this.lacking
    if (threads.some(({ isReady }) => !isReady)) return 'other threads are starting'
    return collapsed ?? owner.oneThreadReason ?? owner.backend.whyNotLend
  }

  /** True while another thread serves a queue. */
  get isLending(): boolean {
    return this.threads.some(({ isLent }) => isLent)
  }

  private lendLater(ms: number): void {
    if (!this.hasEnded) this.dueMs = performance.now() + ms
  }

  private lend(nowMs: number): void {
    const { owner } = this
    const { backend, agreement, config } = owner
    // A thread that is stuck has kept its queues.
    if (!this.isLending) this.queues = backend.runningQueues.filter((queue) => queue > 0)
    const { queues } = this
    const count = Math.min(this.start.config.queueThreads, queues.length)
    /** The thread that serves a queue; 0: the owner. */
    const threadOf = (queue: number) => (queue === 0 ? 0 : queues.indexOf(queue) % count)
    this.lookForLate(nowMs)
    if (count < 2 || this.reason !== undefined || agreement === undefined) return
    if (this.threads.length < count - 1) {
      this.startThreads(count)
      return
    }
    const free = this.threads.filter(({ isLent }) => !isLent).map(({ number }) => number)
    const isFree = (queue: number) => free.includes(threadOf(queue))
    if (!queues.some(isFree)) return
    const lent = backend.lend(isFree, LEND_PATIENCE_MS)
    if (lent === undefined) {
      this.dueMs = nowMs + AGAIN_MS
      return
    }
    for (const thread of this.threads) {
      const rings = lent.rings.filter(({ ring }) => threadOf(ring.index) === thread.number)
      if (rings.length > 0) thread.serve({ ...lent, rings }, agreement, config)
    }
    this.logger.debug({ threads: count }, 'queues lent to other threads')
  }

  /** Starts threads that are missing. They say when they are ready. */
  private startThreads(count: number): void {
    const { start, tables, threads, leastLevel, program, loop } = this
    const { config, procFd, fdLimit, counters } = start
    const { rootFd } = this.owner
    for (let n = 1; n < count; n++) {
      if (threads.some(({ number }) => number === n)) continue
      const block = counters[n]
      if (block === undefined) throw new Error(`thread ${n} has no counters`)
      const given = { config, rootFd, procFd, fdLimit, counters: block, tables }
      const data = { ...given, queueThread: n, newsFd: this.news.fd, leastLevel: leastLevel.buffer }
      const startProgram: StartProgram = (all, transfers) => program.start(all, transfers)
      try {
        threads.push(new QueueThreadClient(data, startProgram, loop, () => this.hear()))
      } catch (error) {
        this.lack(error)
        return
      }
    }
    this.lendLater(START_LIMIT_MS)
  }

  /** One thread serves, since another one cannot be started. */
  private lack(error: unknown): void {
    const reason = `another thread cannot be started: ${messageOf(error)}`
    if (this.lacking === undefined)
      this.logger.warn({ reason }, 'one thread serves the queues until the next mount')
    this.lacking ??= reason
  }

  /** Gives threads up that have ended before they were ready. */
  private giveUpUnstarted(): void {
    const unstarted = this.threads.filter(({ startFailure }) => startFailure !== undefined)
    this.threads = this.threads.filter((thread) => !unstarted.includes(thread))
    for (const thread of unstarted) {
      this.lack(thread.startFailure)
      thread.close()
    }
  }

  private lookForLate(nowMs: number): void {
    const starting = this.threads.filter(({ isReady, isLate }) => !isReady && !isLate)
    for (const thread of starting) {
      if (thread.lateMs <= nowMs) {
        thread.isLate = true
        this.logger.warn({ number: thread.number }, 'a thread for the share’s queues has not begun yet')
      } else this.dueMs = Math.min(this.dueMs, thread.lateMs)
    }
  }

  private standStill(stand: Parameters<QueueThreadClient['askToStand']>[0], untilMs: number): boolean {
    const asked = this.threads.filter((thread) => thread.askToStand(stand))
    const rings: HandedRing[] = []
    let allStand = true
    let failure: unknown
    for (const thread of asked) {
      try {
        const back = thread.awaitStanding(untilMs)
        if (back === undefined) allStand = false
        else rings.push(...back)
      } catch (error) {
        // The others stand still nevertheless before this ends the share.
        failure ??= error
      }
    }
    if (failure !== undefined) throw failure
    if (rings.length > 0) this.owner.backend.takeBack(rings)
    return allStand
  }

  private hear(): void {
    const { wanted } = this
    this.wanted = undefined
    if (wanted !== undefined) this.useOneThread(wanted)
    for (const thread of this.threads) for (const news of thread.takeNews()) this.handle(news)
    this.giveUpUnstarted()
    this.checkAlive()
  }

  private handle(news: QueueThreadNews): void {
    switch (news.type) {
      case 'ready':
        this.lendLater(0)
        break
      case 'needs-owner':
        this.takeBack({ memory: false, session: false })
        break
      case 'needs-one-thread':
        this.useOneThread(news.reason)
        break
      case 'memory-lost':
        this.logger.error({}, 'front-end has truncated the file of its memory: closed')
        this.owner.backend.disconnect()
        break
      case 'log':
        // The thread has left out what is not severe enough.
        this.logger[news.level](news.fields, news.text)
        break
      case 'failed':
        // Otherwise one thread serves: see giveUpUnstarted.
        if (news.hasBegun) throw news.error
        break
      case 'stands':
        break
    }
  }
}
