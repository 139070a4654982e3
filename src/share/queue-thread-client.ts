import { performance } from 'node:perf_hooks'
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { type EventLoop, type GivenUp, type HandedRing, type LentQueues, Wakeup } from 'vhost-user-ts'
import type { InitAgreement } from 'virtio-fs-ts/protocol'
import {
  COUNTED,
  IN_FLIGHT,
  type QueueThreadNews,
  type QueueThreadOrder,
  type QueueThreadStart,
  STATE,
  STATE_WORDS,
  ThreadState,
  WAITING,
} from './queue-thread-messages.js'
import type { ShareConfig } from './share-config.js'

const { Starting, Standing, Serving, Answering, Ended, Asked } = ThreadState
const MAX_ASKED = 2 ** 30
const END_LIMIT_MS = 5000
/** A thread that has not begun by then is said to be late. */
export const START_LIMIT_MS = 10_000
/** A thread that is waited for is looked at this often: it may have died. */
const LOOK_MS = 200
const DEATH = 'a thread of the share’s queues has ended'

/** What the owner asks a thread for as it has it stand still. */
export interface Stand {
  readonly givenUp: GivenUp
  readonly limitMs: number
  readonly mayServeOn: boolean
}

/** Requests of lent queues. */
export interface QueueCounts {
  readonly inFlight: number
  readonly waiting: number
}

/** Starts a thread's program with this data. */
export type StartProgram = (data: QueueThreadStart, transfers: readonly MessagePort[]) => void

/** A thread that serves queues of a share, as the share's owner sees it. */
export class QueueThreadClient {
  private readonly port: MessagePort
  private readonly orders = new Wakeup()
  /** Sent when the thread ends, however it does. */
  private readonly ending = new Wakeup()
  private isGone = false
  private readonly state = new Int32Array(new SharedArrayBuffer(4 * STATE_WORDS))
  private readonly news: QueueThreadNews[] = []
  private asked: number = Asked
  private counted = 0
  /** The thread maps the guest's memory, and knows this session and these settings. */
  private hasMemory = false
  private session: InitAgreement | undefined
  private settings: ShareConfig
  /** The number of the thread among those of the share. */
  readonly number: number
  /** When it is late, if it has not begun. */
  readonly lateMs = performance.now() + START_LIMIT_MS
  /** It was late, which has been said. */
  isLate = false
  /** The thread has queues. */
  isLent = false
  /** Why the thread has failed. */
  failure: Error | undefined
  private notBegun: Error | undefined

  /** `ended` is called when the thread has ended. Throws if it cannot be started. */
  constructor(
    start: Omit<QueueThreadStart, 'port' | 'orderFd' | 'endFd' | 'state'>,
    startProgram: StartProgram,
    private readonly loop: EventLoop,
    ended: () => void,
  ) {
    this.settings = start.config
    this.number = start.queueThread
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    port1.unref()
    loop.addReadable(this.ending.fd, ended)
    const fds = { orderFd: this.orders.fd, endFd: this.ending.fd }
    try {
      startProgram({ ...start, ...fds, port: port2, state: this.state.buffer }, [port2])
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Throws if the thread has begun, and has ended without a word: V8 ends one that needs too much memory. */
  checkAlive(): void {
    this.isGone ||= this.ending.take()
    const state = Atomics.load(this.state, STATE)
    if (this.isGone && state !== Ended && state !== Starting) throw new Error(DEATH)
  }

  /** Why the thread has ended before it was ready; undefined if it has not. Whoever asks has taken its news. */
  get startFailure(): Error | undefined {
    this.isGone ||= this.ending.take()
    const hasEnded = this.isGone && Atomics.load(this.state, STATE) === Starting
    return this.notBegun ?? (hasEnded ? new Error(DEATH) : undefined)
  }

  get isReady(): boolean {
    return Atomics.load(this.state, STATE) !== Starting
  }

  /** Takes the news that have come. */
  takeNews(): readonly QueueThreadNews[] {
    this.receive()
    return this.news.splice(0)
  }

  serve(lent: LentQueues, agreement: InitAgreement, settings: ShareConfig): void {
    // A thread that has failed says so in its news.
    Atomics.compareExchange(this.state, STATE, Standing, Serving)
    this.order({
      type: 'serve',
      lent,
      agreement: this.session === agreement ? undefined : agreement,
      settings: this.settings === settings ? undefined : settings,
    })
    this.hasMemory = true
    this.session = agreement
    this.settings = settings
    this.isLent = true
    this.orders.send()
  }

  /** Asks the thread to stand still, unless it does and has nothing to give up. Returns true if `awaitStanding` is to follow. */
  askToStand({ givenUp, limitMs, mayServeOn }: Stand): boolean {
    const memory = givenUp.memory && this.hasMemory
    const session = givenUp.session && this.session !== undefined
    if (!this.isLent && !memory && !session) return false
    this.asked = this.asked >= MAX_ASKED ? Asked : this.asked + 1
    const { asked } = this
    const was = this.isLent ? Serving : Standing
    // An order counts only while the state says so.
    Atomics.compareExchange(this.state, STATE, was, asked)
    this.order({ type: 'stand', asked, limitMs, mayServeOn, givenUp: { memory, session } })
    this.orders.send()
    if (memory) this.hasMemory = false
    if (session) this.session = undefined
    return true
  }

  /**
   * Waits until the thread stands still, until `untilMs` (of `performance.now()`). Returns its queues. Undefined: it serves on.
   * Throws if it has failed.
   */
  awaitStanding(untilMs: number): readonly HandedRing[] | undefined {
    const { state, asked } = this
    for (
      let now = Atomics.load(state, STATE);
      now === asked || now === Answering;
      now = Atomics.load(state, STATE)
    ) {
      const leftMs = untilMs - performance.now()
      this.checkAlive()
      if (leftMs > 0) Atomics.wait(state, STATE, now, Math.min(leftMs, LOOK_MS))
      else if (now === asked && Atomics.compareExchange(state, STATE, asked, Serving) === asked)
        return undefined
    }
    if (Atomics.load(state, STATE) === Serving) return undefined
    this.isLent = false
    return this.takeRings(asked)
  }

  /** Asks the thread for what `counts` returns. */
  askToCount(): void {
    this.order({ type: 'count', asked: ++this.counted })
    this.orders.send()
  }

  /** Returns the numbers of its requests. A thread that the host holds up has none to tell. */
  counts(untilMs: number): QueueCounts {
    const { state, counted } = this
    for (let at = Atomics.load(state, COUNTED); at !== counted; at = Atomics.load(state, COUNTED)) {
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) return { inFlight: 0, waiting: 0 }
      Atomics.wait(state, COUNTED, at, leftMs)
    }
    return { inFlight: Atomics.load(state, IN_FLIGHT), waiting: Atomics.load(state, WAITING) }
  }

  /** Has the thread end. Its queues are with their owner again. */
  end(): void {
    this.order({ type: 'end' })
    this.orders.send()
  }

  /** Waits a while for its end. Returns false if it has not ended by then: the host holds it up. */
  awaitEnd(): boolean {
    const { state } = this
    const untilMs = performance.now() + (this.isLate ? 0 : END_LIMIT_MS)
    for (let now = Atomics.load(state, STATE); now !== Ended; now = Atomics.load(state, STATE)) {
      const leftMs = untilMs - performance.now()
      this.isGone ||= this.ending.take()
      if (this.isGone) break
      if (leftMs <= 0) {
        this.loop.remove(this.ending.fd)
        // The eventfds stay open: the thread still waits for them.
        return false
      }
      Atomics.wait(state, STATE, now, Math.min(leftMs, LOOK_MS))
    }
    this.receive()
    this.close()
    return true
  }

  /** Closes what leads to a thread that has ended, or was never there. */
  close(): void {
    this.loop.remove(this.ending.fd)
    this.port.close()
    this.orders.close()
    this.ending.close()
  }

  private order(order: QueueThreadOrder): void {
    this.port.postMessage(order)
  }

  private receive(): void {
    for (;;) {
      const got = receiveMessageOnPort(this.port)
      if (got === undefined) return
      // The thread sends only news on this port.
      const news = got.message as QueueThreadNews
      if (news.type === 'failed' && news.hasBegun) this.failure = news.error
      else if (news.type === 'failed') this.notBegun = news.error
      this.news.push(news)
    }
  }

  private takeRings(asked: number): readonly HandedRing[] {
    this.receive()
    const at = this.news.findIndex((news) => news.type === 'stands' && news.asked === asked)
    const [answer] = at < 0 ? [] : this.news.splice(at, 1)
    if (answer?.type === 'stands') return answer.rings
    throw this.failure ?? new Error(DEATH)
  }
}
