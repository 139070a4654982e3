import { strict as assert } from 'node:assert'
import { getSystemErrorName } from 'node:util'
import type { Buffer, Frontend, Used } from 'vhost-user-ts/frontend'
import { errnoName } from 'virtio-fs-ts/protocol'
import { concat, type Id, Reader, u32, u64 } from './fuse-wire.js'
import { type Layout, linux } from './layouts.js'

export const IN_HEADER_BYTES = 40
export const OUT_HEADER_BYTES = 16
export const HIPRIO_QUEUE = 0
export const REQUEST_QUEUE = 1

/** Only a hang takes this long. */
const TIMEOUT_MS = 20_000
/** The initial content of the reply's buffers, to detect writes. */
const UNTOUCHED = 0xa5
/** fuse(4): the kernel accepts only errors above this. */
const MAX_ERROR = 512
const NOTHING = new Uint8Array(0)

/** The caller of a request. */
export interface Caller {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Extensions of requests that create something, a multiple of 8 bytes. */
  readonly extensions: Uint8Array
}

export const root: Caller = Object.freeze({ uid: 0, gid: 0, pid: 1234, extensions: NOTHING })

/** One request, as a guest's kernel builds it. */
export interface GuestRequest {
  readonly opcode: number
  readonly nodeid: Id
  readonly args?: Uint8Array
  /** Data in pages of its own, such as that of WRITE. */
  readonly data?: Uint8Array
  readonly reply: ReplyShape
  /** The length in the header, if it should differ from the request's. */
  readonly headerLenBytes?: number
  /** The last word of the header, if it should not tell the length of the extensions. */
  readonly headerEnd?: number
  readonly caller?: Caller
}

/**
 * The shape of a successful reply behind its header: `argBytes` exactly, then up to `dataBytes`. 'none': no reply.
 */
export type ReplyShape = { readonly argBytes: number; readonly dataBytes?: number } | 'none'

export const EMPTY: ReplyShape = Object.freeze({ argBytes: 0 })

export interface Reply {
  /** Zero, or a positive errno. */
  readonly error: number
  readonly body: Uint8Array
}

/** A request that the device holds, or has answered. */
export interface Call {
  readonly request: GuestRequest
  readonly unique: bigint
  readonly writable: readonly Buffer[]
  reply: Reply | undefined
}

/** Returns an errno's usual name: EAGAIN rather than EWOULDBLOCK. Some numbers have no name in libuv. */
function nameOf(errno: number): string {
  const usual = getSystemErrorName(-errno)
  return usual.startsWith('Unknown') ? errnoName(errno) : usual
}

/** An operation that the device refused. */
export class FuseError extends Error {
  override readonly name = 'FuseError'
  readonly code: string

  constructor(readonly errno: number) {
    super(nameOf(errno))
    this.code = this.message
  }
}

/**
 * The FUSE half of a guest kernel, over rings that it drives. Checks every reply as Linux 7.3 does: used length,
 * unique, error range, an error of exactly 16 bytes, a success of exactly the right length, and nothing written
 * behind the reply.
 */
export class FuseClient {
  caller = root
  layout: Layout = linux
  /** True: skips the check behind a short reply, since the host's disk may write whole blocks there. */
  roomMayChange = false
  /** The queue for requests. */
  queue = REQUEST_QUEUE
  /** The high bits of both words are set, so that a device that truncates or rounds the id is noticed. */
  private nextUnique = 0xfedc_ba98_8000_0002n
  private readonly calls: Map<number, Call>[]
  private closed = false

  constructor(readonly frontend: Frontend) {
    this.calls = frontend.queues.map(() => new Map<number, Call>())
  }

  /** Puts a request on a ring and kicks. */
  start(request: GuestRequest, queue = this.queue): Call {
    if (this.calls.every((calls) => calls.size === 0)) this.frontend.freeBuffers()
    const unique = this.nextUnique
    this.nextUnique += 2n
    const { readable, writable } = this.encode(request, unique, this.frontend.queues[queue].layout.size)
    const call: Call = { request, unique, writable, reply: undefined }
    const head = this.frontend.queues[queue].submit(readable, writable)
    this.calls[queue].set(head, call)
    this.frontend.queues[queue].kick()
    return call
  }

  /** Waits for the next completed request on this queue, and checks its reply. */
  finish(queue = this.queue): Call {
    const call = this.finishNow(queue, TIMEOUT_MS)
    assert.ok(call !== undefined, `queue ${queue} gave nothing back in ${TIMEOUT_MS} ms`)
    return call
  }

  /** The same, if a request completes within `timeoutMs`. */
  finishNow(queue = this.queue, timeoutMs = 0): Call | undefined {
    const used = this.frontend.queues[queue].reap(timeoutMs)
    if (used === undefined) return undefined
    const call = this.calls[queue].get(used.head)
    assert.ok(call !== undefined, `queue ${queue} gave back head ${used.head}, which it did not hold`)
    this.calls[queue].delete(used.head)
    call.reply = this.checkReply(call, used)
    return call
  }

  /** Sends one request. Returns its reply. */
  call(request: GuestRequest, queue = this.queue): Reply {
    const call = this.start(request, queue)
    assert.equal(this.finish(queue), call, 'the one request in flight')
    return call.reply as Reply
  }

  /** Sends a request that must succeed. Throws FuseError. */
  succeed(request: GuestRequest, queue = this.queue): Reader {
    const { error, body } = this.call(request, queue)
    if (error !== 0) throw new FuseError(error)
    return new Reader(body)
  }

  /** Makes every request inside `work` come from `caller`. */
  as<T>(caller: Partial<Caller>, work: () => T): T {
    const before = this.caller
    this.caller = { ...root, ...caller }
    try {
      return work()
    } finally {
      this.caller = before
    }
  }

  /** Restarts every queue, as after a reset: the rings stay in place, and nothing is in flight. */
  restartQueues(): void {
    this.frontend.queues.forEach((queue, index) => {
      assert.equal(queue.inFlightCount, 0)
      this.frontend.startQueue(index, queue.avail[1])
    })
  }

  /** Disconnects, if still connected. */
  close(): void {
    if (!this.closed) this.frontend.close()
    this.closed = true
  }

  private encode(
    request: GuestRequest,
    unique: bigint,
    queueSize: number,
  ): { readable: Buffer[]; writable: Buffer[] } {
    const { opcode, nodeid, args = NOTHING, data = NOTHING, headerLenBytes, headerEnd } = request
    const { uid, gid, pid, extensions } = request.caller ?? this.caller
    const lenBytes = IN_HEADER_BYTES + args.length + data.length + extensions.length
    const header = concat(
      u32(headerLenBytes ?? lenBytes, opcode),
      u64(unique, nodeid),
      // total_extlen is a u16, in units of 8 bytes.
      u32(uid, gid, pid, headerEnd ?? extensions.length / 8),
    )
    const whole = concat(header, args, data, extensions)
    const most = queueSize / 2
    const pieces = [IN_HEADER_BYTES, args.length, data.length + extensions.length]
    const readable = this.layout.place(this.frontend, pieces, most, 0)
    let at = 0
    for (const { gpa, lenBytes: n } of readable) {
      this.frontend.write(gpa, whole.subarray(at, at + n))
      at += n
    }
    return { readable, writable: this.placeReply(request.reply, most) }
  }

  private placeReply(shape: ReplyShape, maxSegments: number): Buffer[] {
    if (shape === 'none') return []
    const pieces = [OUT_HEADER_BYTES, shape.argBytes, shape.dataBytes ?? 0]
    const writable = this.layout.place(this.frontend, pieces, maxSegments, 1)
    for (const { gpa, lenBytes } of writable) {
      this.frontend.write(gpa, new Uint8Array(lenBytes).fill(UNTOUCHED))
    }
    return writable
  }

  private checkReply(call: Call, { writtenBytes }: Used): Reply {
    const { opcode, reply: shape } = call.request
    const what = `reply to opcode ${opcode}`
    if (shape === 'none') {
      assert.equal(writtenBytes, 0, `${what}: nothing may be written`)
      return { error: 0, body: NOTHING }
    }
    const whole = concat(...call.writable.map(({ gpa, lenBytes }) => this.frontend.read(gpa, lenBytes)))
    assert.ok(writtenBytes >= OUT_HEADER_BYTES, `${what}: too short (${writtenBytes})`)
    const r = new Reader(whole)
    const [lenBytes, error, unique] = [r.u32(), r.i32(), r.u64()]
    assert.equal(lenBytes, writtenBytes, `${what}: out.len and used.len`)
    assert.equal(unique, call.unique, `${what}: unique`)
    assert.ok(error > -MAX_ERROR && error <= 0, `${what}: error ${error}`)
    const bodyBytes = lenBytes - OUT_HEADER_BYTES
    const leastBytes = error < 0 ? 0 : shape.argBytes
    const mostBytes = error < 0 ? 0 : shape.argBytes + (shape.dataBytes ?? 0)
    assert.ok(
      bodyBytes >= leastBytes && bodyBytes <= mostBytes,
      `${what}: ${bodyBytes} bytes behind the header, not ${leastBytes} to ${mostBytes}`,
    )
    const behind = whole.subarray(lenBytes)
    assert.ok(
      this.roomMayChange || behind.every((byte) => byte === UNTOUCHED),
      `${what}: bytes behind it were written to`,
    )
    return { error: error === 0 ? 0 : -error, body: whole.slice(OUT_HEADER_BYTES, lenBytes) }
  }
}
