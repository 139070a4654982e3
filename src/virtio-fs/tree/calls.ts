import { performance } from 'node:perf_hooks'
import { EIO, ETIMEDOUT } from '../errno.js'
import { type Carrier, type DeferredReply, PENDING_REPLY, type ReplyPlace, type Request } from '../request.js'
import { describeError, MethodError, traceOf } from './method-error.js'
import type { Awaitable, Context, FileContext, FsNode, Opened, OrNothing } from './node.js'

/** A method that has not settled after this time is reported. */
const SLOW_MS = 10_000
const CHECK_EVERY_MS = 1000
/** Bytes of requests under way, with room for their replies, beyond which no more begin. A batch may come on top. */
const MAX_BYTES_UNDER_WAY = 64 * 1024 * 1024

/** Reports a fault. `kind` comes from a fixed set. */
export type Report = (kind: string, fields: object) => void

/** The caller of `release` if the guest has not asked for it. */
const NOBODY = { uid: 0xffff_ffff, gid: 0xffff_ffff, pid: 0 }

/** One request, as the context of a node's method. */
export class Call implements FileContext {
  private controller: AbortController | undefined
  readonly uid: number
  readonly gid: number
  readonly pid: number

  constructor(
    { uid, gid, pid }: Pick<Context, 'uid' | 'gid' | 'pid'>,
    readonly handle: unknown,
  ) {
    this.uid = uid
    this.gid = gid
    this.pid = pid
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    return this.controller.signal
  }

  abort(): void {
    this.controller?.abort()
  }
}

/** The node of a request, and the name in it that the request is about. */
interface Place {
  readonly nodeid: number
  readonly name: string | undefined
}

/** A request whose method's promise has not settled. */
interface UnderWay {
  readonly method: string
  readonly call: Call
  readonly reply: DeferredReply
  /** The request's bytes and the room for its reply: what its method may keep of the guest's data. */
  readonly lenBytes: number
  readonly sinceMs: number
  readonly place: Place
  isTold: boolean
}

/** Builds the reply for a method's value. Returns an operation's result. */
type Answer<T> = (value: T, to: ReplyPlace) => number

/** Gives back what a method made for a request, because the guest is not told of it. */
type GiveBack<T> = (value: T) => void

/** Calls methods of nodes for requests, and answers with their results: at once for a value, later for a promise. */
export class Calls {
  private readonly underWay = new Set<UnderWay>()
  private bytesUnderWay = 0
  private timer: NodeJS.Timeout | undefined

  /** After `timeoutMs` a request is answered with ETIMEDOUT, and its promise no longer matters. 0: never. */
  constructor(
    readonly report: Report,
    private readonly timeoutMs: number,
    /** The path of a node, for the log. */
    private readonly pathOf: (nodeid: number) => string | undefined = () => undefined,
  ) {}

  /** True if promises that have not settled hold so much that no more may begin. */
  get isFull(): boolean {
    return this.bytesUnderWay >= MAX_BYTES_UNDER_WAY
  }

  /** `name`: the name in the request's directory that it is about. */
  run<T>(
    request: Request,
    method: string,
    handle: unknown,
    start: (call: Call) => Awaitable<T>,
    answer: Answer<T>,
    giveBack?: GiveBack<T>,
    name?: string,
  ): number {
    const call = new Call(request, handle)
    let value: Awaitable<T>
    try {
      value = start(call)
      if (isPromise(value)) return this.defer(request, method, call, value, answer, giveBack, name)
    } catch (error) {
      return this.failed(method, error, { nodeid: request.nodeid, name })
    }
    try {
      return answer(value as T, request)
    } catch (error) {
      giveBack?.(value as T)
      return this.failed(method, error, { nodeid: request.nodeid, name })
    }
  }

  /** Releases an open that the guest is not told of, or never released. */
  release(node: FsNode, said: OrNothing<Opened>): void {
    // A wrong answer of `open` need not be an object.
    const handle = (said as Opened | null | undefined)?.handle
    this.notify('release', () => node.release?.(new Call(NOBODY, handle)))
  }

  /** Calls a method that no request waits for, such as `forget`. Its errors, a rejected promise included, are reported. */
  notify(method: string, run: () => unknown): void {
    const fail = (error: unknown) => {
      this.failed(method, error)
    }
    try {
      const value = run()
      if (isPromise(value)) value.then(undefined, fail)
    } catch (error) {
      fail(error)
    }
  }

  /** Answers a request that can wait no longer. */
  cancel(carrier: Carrier): void {
    for (const one of this.underWay) {
      const { carrier: own } = one.reply
      if (own === carrier || own.carrier === carrier) this.giveUp(one, -EIO)
    }
  }

  /** Ends all waits: the guest has gone, or begins a new session. */
  abandon(): void {
    for (const one of this.underWay) this.giveUp(one, -EIO)
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Returns the errno for a method's error, and reports an error without an errno. */
  failed(method: string, error: unknown, place?: Place): number {
    const own = error instanceof MethodError
    const cause = own ? error.cause : error
    const { errno, isOwn } = describeError(cause)
    if (isOwn)
      this.report(`${own ? error.method : method}() failed: the guest gets EIO`, {
        ...this.where(place),
        error: traceOf(cause),
      })
    return -errno
  }

  /** The path that a request is about, unless the guest has forgotten its node. */
  private where(place: Place | undefined): { path?: string } {
    const path = place && this.pathOf(place.nodeid)
    if (path === undefined) return {}
    const names = [path, place?.name].filter((part) => part !== undefined && part !== '')
    return { path: `/${names.join('/')}` }
  }

  private defer<T>(
    request: Request,
    method: string,
    call: Call,
    value: PromiseLike<T>,
    answer: Answer<T>,
    giveBack: GiveBack<T> | undefined,
    name: string | undefined,
  ): number {
    const { readableBytes, writableBytes } = request.carrier
    const lenBytes = readableBytes + writableBytes
    const reply = request.defer()
    const place = { nodeid: request.nodeid, name }
    const one: UnderWay = { method, call, reply, lenBytes, sinceMs: performance.now(), place, isTold: false }
    this.underWay.add(one)
    this.bytesUnderWay += lenBytes
    this.timer ??= setInterval(() => this.check(), CHECK_EVERY_MS).unref()
    // A thenable that is no Promise may call back twice, or at once: Promise.resolve makes a promise of it.
    Promise.resolve(value).then(
      (settled) => {
        if (this.end(one)) reply.finish(this.answerLate(one, settled, answer, giveBack))
        // The request was given up meanwhile.
        else giveBack?.(settled)
      },
      (error) => {
        if (this.end(one)) reply.finish(this.failed(method, error, place))
      },
    )
    return PENDING_REPLY
  }

  private answerLate<T>(
    { method, reply, place }: UnderWay,
    value: T,
    answer: Answer<T>,
    giveBack: GiveBack<T> | undefined,
  ): number {
    try {
      return answer(value, reply)
    } catch (error) {
      giveBack?.(value)
      return this.failed(method, error, place)
    }
  }

  /** Returns false if the request was given up before. */
  private end(one: UnderWay): boolean {
    if (!this.underWay.delete(one)) return false
    this.bytesUnderWay -= one.lenBytes
    return true
  }

  private giveUp(one: UnderWay, error: number): void {
    this.end(one)
    one.call.abort()
    one.reply.finish(error)
  }

  private check(): void {
    if (this.underWay.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
    }
    const nowMs = performance.now()
    for (const one of this.underWay) {
      const forMs = nowMs - one.sinceMs
      if (this.timeoutMs > 0 && forMs > this.timeoutMs) {
        this.report(`${one.method}() has not settled: the guest gets ETIMEDOUT`, {
          ...this.where(one.place),
          timeoutMs: this.timeoutMs,
        })
        this.giveUp(one, -ETIMEDOUT)
      } else if (forMs > SLOW_MS && !one.isTold) {
        one.isTold = true
        this.report(`${one.method}() has not settled`, { ...this.where(one.place), forMs: Math.round(forMs) })
      }
    }
  }
}

export function isPromise<T>(value: Awaitable<T> | unknown): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<T>).then === 'function'
}

/** Continues with a value: at once, or when its promise resolves. */
export function andThen<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return isPromise(value) ? value.then(next) : next(value)
}

/** Calls a method that is not the first of its request, so that its errors carry its name. */
export function named<T>(method: string, run: () => Awaitable<T>): Awaitable<T> {
  const fail = (error: unknown): never => {
    throw error instanceof MethodError ? error : new MethodError(method, error)
  }
  try {
    const value = run()
    return isPromise(value) ? value.then(undefined, fail) : value
  } catch (error) {
    return fail(error)
  }
}
