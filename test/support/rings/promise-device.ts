/** A device on Node's event loop, in a worker. The first byte of each request chooses when its reply comes. */
import { parentPort, workerData } from 'node:worker_threads'
import { type DescriptorChain, listen, PENDING, type VhostUserDevice } from 'vhost-user-ts'

/** The first byte of a request. */
export const Reply = Object.freeze({
  AT_ONCE: 0,
  AS_PROMISE: 1,
  AFTER_A_TIMER: 2,
  /** Pending until a later request is RELEASE; the reply is written only then. */
  WHEN_RELEASED: 3,
  RELEASE: 4,
  /** A promise that settles when its signal is aborted: it answers CANCELLED. */
  WHEN_ABORTED: 5,
  /** A promise that waits for RELEASE, writes, and resolves. */
  PROMISE_WHEN_RELEASED: 6,
  THROW: 7,
  REJECT: 8,
  RESOLVE_TO_NONSENSE: 9,
})

/** The first byte of a reply. */
export const ANSWERED = 1
export const CANCELLED = 2

/** Counters that the worker keeps in `counts`. */
export const Count = Object.freeze({
  ABORTED: 0,
  LATE_COMPLETIONS: 1,
  LATE_WRITES: 2,
  CANCELS: 3,
  RESETS: 4,
  /** Requests that wait for a timer or for RELEASE. */
  WAITING: 5,
  TURNS: 6,
})

export interface PromiseDeviceData {
  readonly socketPath: string
  readonly counts: Int32Array
  readonly stopTimeoutMs: number
  /** Answers pending requests when they are cancelled. */
  readonly cancels: boolean
  readonly pollUs: number
  readonly once: boolean
  /** The device is full while so many requests wait for a timer or for RELEASE. Undefined: never. */
  readonly most?: number
}

const TIMER_MS = 100

class PromiseDevice implements VhostUserDevice {
  readonly name = 'promises'
  readonly queueCount = 2
  private readonly byte = new Uint8Array(1)
  private readonly waiting: (() => void)[] = []
  private timers = 0
  cancel?: (chain: DescriptorChain) => void

  constructor(
    private readonly counts: Int32Array,
    cancels: boolean,
    private readonly most: number,
  ) {
    if (cancels) this.cancel = (chain) => this.answerCancelled(chain)
  }

  process(chain: DescriptorChain): number | Promise<number> {
    chain.read(0, 1, this.byte, 0)
    switch (this.byte[0]) {
      case Reply.AS_PROMISE:
        return Promise.resolve().then(() => this.answer(chain))
      case Reply.AFTER_A_TIMER:
        this.timers++
        this.count(Count.WAITING)
        return new Promise((resolve) =>
          setTimeout(() => {
            this.timers--
            resolve(this.answer(chain))
          }, TIMER_MS),
        )
      case Reply.WHEN_RELEASED:
        this.count(Count.WAITING)
        this.waiting.push(() => {
          const writtenBytes = this.answer(chain)
          if (!chain.complete(writtenBytes)) this.count(Count.LATE_COMPLETIONS)
        })
        return PENDING
      case Reply.PROMISE_WHEN_RELEASED:
        return new Promise((resolve) => this.waiting.push(() => resolve(this.answer(chain))))
      case Reply.RELEASE:
        for (const release of this.waiting.splice(0)) release()
        return this.answer(chain)
      case Reply.WHEN_ABORTED:
        return new Promise((resolve) =>
          chain.signal.addEventListener('abort', () => {
            this.count(Count.ABORTED)
            chain.write(0, 1, Uint8Array.of(CANCELLED), 0)
            resolve(1)
          }),
        )
      case Reply.THROW:
        throw new Error('thrown on purpose')
      case Reply.REJECT:
        return Promise.reject(new Error('rejected on purpose'))
      case Reply.RESOLVE_TO_NONSENSE:
        return Promise.resolve(chain.writableBytes + 1)
      default:
        return this.answer(chain)
    }
  }

  isFull(): boolean {
    return this.timers + this.waiting.length >= this.most
  }

  progress(): boolean {
    this.count(Count.TURNS)
    return false
  }

  reset(): void {
    this.count(Count.RESETS)
  }

  private answerCancelled(chain: DescriptorChain): void {
    this.count(Count.CANCELS)
    chain.write(0, 1, Uint8Array.of(CANCELLED), 0)
    chain.complete(1)
  }

  private answer(chain: DescriptorChain): number {
    if (!chain.write(0, 1, Uint8Array.of(ANSWERED), 0)) this.count(Count.LATE_WRITES)
    return 1
  }

  private count(counter: number): void {
    Atomics.add(this.counts, counter, 1)
    Atomics.notify(this.counts, counter)
  }
}

/** Also imported for its constants. */
if (workerData?.counts !== undefined) {
  const data = workerData as PromiseDeviceData
  const { socketPath, counts, cancels, stopTimeoutMs, pollUs, once, most = Number.POSITIVE_INFINITY } = data
  const device = new PromiseDevice(counts, cancels, most)
  const server = listen(socketPath, device, { stopTimeoutMs, pollUs, once })
  server.closed.then(
    () => parentPort?.postMessage('closed'),
    (error) => parentPort?.postMessage(error.message),
  )
  parentPort?.once('message', () => server.close())
  parentPort?.unref()
}
