import { Counters } from './counters.js'
import { InHeader, OutHeader } from './wire/header.js'

/**
 * What brings a request and takes its reply: a stream of readable bytes (header, arguments, data) and room for the
 * reply. A vhost-user descriptor chain is one. The sender may change its bytes at any time: they are copied, then checked.
 */
export interface Carrier {
  readonly readableBytes: number
  readonly writableBytes: number
  /** Copies readable bytes, words first; `skipBytes` is a multiple of 4. False when there are not so many. */
  readWords(skipBytes: number, lenBytes: number, out: Int32Array, outBytes: Uint8Array): boolean
  read(skipBytes: number, lenBytes: number, out: Uint8Array, at: number): boolean
  /** Copies the first `lenBytes` of `from` to the front of the reply. False when there is no room. */
  writeWords(lenBytes: number, from: Int32Array, fromBytes: Uint8Array): boolean
  write(skipBytes: number, lenBytes: number, from: Uint8Array, at: number): boolean
  /** preadv2 of a file straight into the reply, `skipBytes` behind its front. Bytes read, or a negative errno. */
  readFromFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number
  /** pwritev2 of the request's bytes from `skipBytes` on straight to a file. Bytes written, or a negative errno. */
  writeToFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number
  /** Start the same two and return at once; `token` comes back with the result. 0 or a negative errno. */
  startReadFromFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number
  startWriteToFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number
  /** Gives back a request whose reply came later: `lenBytes` of it are written. */
  complete(lenBytes: number): void
  /** Of one that stands between: the carrier that it watches. */
  readonly carrier?: Carrier
}

/**
 * What an operation returns: the bytes it put at `reply` (0 or more), a negative errno, or one of these, which lie
 * beyond every errno (the kernel takes none below -511).
 */
export const NO_REPLY = -1001
/** The reply's data lies in place already, `inPlaceBytes` of it behind the header. */
export const IN_PLACE = -1002
/** The reply comes later, from a `Pending` that the operation has kept. */
export const PENDING_REPLY = -1003
/** Somebody on the host has to give something up first: the request is served again, from the beginning, a little later. */
export const POSTPONED = -1005

/** A request with more arguments than this is refused with EINVAL. Data of WRITE does not count. */
export const MAX_ARG_BYTES = 128 * 1024
/** The longest reply that is put together here; data of READ does not count. */
export const MAX_REPLY_BYTES = 256 * 1024

/** Room for the arguments of a reply that comes later: the longest of a fixed length are STATX's. Data does not count. */
const DEFERRED_BYTES = 288

/** The arguments begin here in `args`. */
export const ARGS = InHeader.BYTES

/** Where a reply is put together, of the request at hand or of one that is answered later. */
export interface ReplyPlace {
  /** Room for the reply's arguments: byte 0 comes right behind the reply header. */
  readonly reply: DataView
  readonly replyWords: Int32Array
  /** Data that the reply can carry behind its header. */
  readonly replyRoomBytes: number
  /** Puts data of any length straight into the reply, `skipBytes` behind the header. False when there is no room. */
  replyData(data: Uint8Array, skipBytes?: number): boolean
  /** The reply's data is in place, `lenBytes` of it. Returns what the operation returns. */
  replyInPlace(lenBytes: number): number
}

/**
 * The request that is being served: one object for each session, filled anew each time. Everything an operation reads
 * is a copy that the sender cannot change any more.
 */
export class Request implements ReplyPlace {
  /** Header and arguments; arguments begin at byte ARGS. */
  readonly args: DataView
  readonly argBytes: Uint8Array
  readonly reply: DataView
  readonly replyBytes: Uint8Array
  readonly replyWords: Int32Array

  carrier!: Carrier
  opcode = 0
  /** -1 when it was beyond 2^53: no node of ours. */
  nodeid = 0
  uid = 0
  gid = 0
  pid = 0
  uniqueLow = 0
  uniqueHigh = 0
  /** Bytes of the request as its header says, of which all have arrived. */
  lenBytes = 0
  /** Byte in `argBytes` at which the request's first and second name begin, NUL-terminated and checked. */
  nameAt = 0
  secondNameAt = 0
  /** Bytes of data that an operation which returns IN_PLACE has put behind the header. */
  inPlaceBytes = 0
  /**
   * Byte in `args` at which extensions begin; equal to lenBytes when there are none. What the header says, not checked:
   * it may lie before the arguments, and below 0.
   */
  extensionsAt = 0

  private readonly words = new Int32Array((ARGS + MAX_ARG_BYTES) / 4 + 2)
  private readonly headerWords: Int32Array
  private readonly whole: Int32Array
  private readonly wholeBytes: Uint8Array
  /** The arguments alone. */
  private readonly argWords: Int32Array
  private readonly argTail: Uint8Array
  private readonly idleReplies: DeferredReply[] = []
  private repliesMade = 0

  constructor(readonly counters = new Counters()) {
    const { buffer } = this.words
    this.argBytes = new Uint8Array(buffer)
    this.args = new DataView(buffer)
    this.headerWords = new Int32Array(buffer, 0, InHeader.BYTES / 4)
    this.argWords = new Int32Array(buffer, ARGS)
    this.argTail = new Uint8Array(buffer, ARGS)
    this.whole = new Int32Array((OutHeader.BYTES + MAX_REPLY_BYTES) / 4)
    this.wholeBytes = new Uint8Array(this.whole.buffer)
    this.replyWords = new Int32Array(this.whole.buffer, OutHeader.BYTES)
    this.replyBytes = new Uint8Array(this.whole.buffer, OutHeader.BYTES)
    this.reply = new DataView(this.whole.buffer, OutHeader.BYTES)
  }

  /** Takes the header of what `carrier` brings. False when it is shorter than a header or than it says it is. */
  begin(carrier: Carrier): boolean {
    this.carrier = carrier
    const { args } = this
    this.lenBytes = 0
    if (!carrier.readWords(0, InHeader.BYTES, this.headerWords, this.argBytes)) {
      this.opcode = 0
      this.uniqueLow = 0
      this.uniqueHigh = 0
      return false
    }
    this.lenBytes = InHeader.lenBytes(args)
    this.extensionsAt = this.lenBytes - 8 * InHeader.totalExtlen(args)
    this.opcode = InHeader.opcode(args)
    this.uniqueLow = InHeader.uniqueLow(args)
    this.uniqueHigh = InHeader.uniqueHigh(args)
    this.nodeid = InHeader.nodeid(args)
    this.uid = InHeader.uid(args)
    this.gid = InHeader.gid(args)
    this.pid = InHeader.pid(args)
    return this.lenBytes >= InHeader.BYTES && this.lenBytes <= carrier.readableBytes
  }

  /** Copies up to `maxBytes` of the arguments. Returns how many there are of them now, or -1 when they are too many. */
  loadArgs(maxBytes: number): number {
    const lenBytes = Math.min(this.lenBytes - ARGS, maxBytes)
    if (lenBytes > MAX_ARG_BYTES) return -1
    if (lenBytes > 0 && !this.carrier.readWords(ARGS, lenBytes, this.argWords, this.argTail)) return -1
    return lenBytes
  }

  /** Bytes of data behind arguments of `argBytes`: what a WRITE brings. */
  payloadBytes(argBytes: number): number {
    return this.lenBytes - ARGS - argBytes
  }

  /** A copy of `lenBytes` of the data behind arguments of `argBytes`. Undefined when there are not so many. */
  payload(argBytes: number, lenBytes: number): Uint8Array | undefined {
    const data = new Uint8Array(Math.min(lenBytes, this.payloadBytes(argBytes)))
    if (data.length < lenBytes) return undefined
    return this.carrier.read(ARGS + argBytes, lenBytes, data, 0) ? data : undefined
  }

  /** The request's first name. Undefined when its bytes are no UTF-8: no string stands for them. */
  name(): string | undefined {
    return textAt(this.argBytes, this.nameAt)
  }

  /** The second name, of RENAME, or the target, of SYMLINK. */
  secondName(): string | undefined {
    return textAt(this.argBytes, this.secondNameAt)
  }

  get replyRoomBytes(): number {
    return Math.max(0, this.carrier.writableBytes - OutHeader.BYTES)
  }

  /**
   * READ: fills the reply's data from byte `doneBytes` on, up to `lenBytes`, from a file whose byte `offsetBytes` is the
   * reply's first. Returns bytes read, or a negative errno.
   */
  replyFromFile(fd: number, offsetBytes: number, lenBytes: number, doneBytes: number, flags: number): number {
    const skipBytes = OutHeader.BYTES + doneBytes
    return this.carrier.readFromFile(skipBytes, lenBytes - doneBytes, fd, offsetBytes + doneBytes, flags)
  }

  replyData(data: Uint8Array, skipBytes = 0): boolean {
    return this.carrier.write(OutHeader.BYTES + skipBytes, data.length, data, 0)
  }

  replyInPlace(lenBytes: number): number {
    this.inPlaceBytes = lenBytes
    return IN_PLACE
  }

  /** WRITE: puts `lenBytes` of the data behind arguments of `argBytes` into a file. Bytes written, or a negative errno. */
  payloadToFile(argBytes: number, fd: number, offsetBytes: number, lenBytes: number, flags: number): number {
    return this.carrier.writeToFile(ARGS + argBytes, lenBytes, fd, offsetBytes, flags)
  }

  /** Sends a success with the first `lenBytes` at `reply`. Returns the reply's length, 0 when there is no room for it. */
  succeed(lenBytes: number): number {
    return this.finish(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES + lenBytes)
  }

  /** Sends the header for `inPlaceBytes` of data that lie behind it already. */
  succeedInPlace(): number {
    return this.finish(OutHeader.BYTES + this.inPlaceBytes, 0, OutHeader.BYTES)
  }

  /** Sends an error, a negative errno. Nothing follows the header. */
  fail(error: number): number {
    this.counters.failed(this.opcode)
    return this.finish(OutHeader.BYTES, error, OutHeader.BYTES)
  }

  /** Takes the request over, to be answered later: the operation returns PENDING_REPLY. */
  defer(): DeferredReply {
    const deferred = this.idleReplies.pop() ?? this.newReply()
    deferred.begin(this.carrier, this.uniqueLow, this.uniqueHigh, this.opcode)
    return deferred
  }

  /** Replies that are owed. */
  get deferredCount(): number {
    return this.repliesMade - this.idleReplies.length
  }

  private newReply(): DeferredReply {
    this.repliesMade++
    return new DeferredReply(this.idleReplies, this.counters)
  }

  private finish(lenBytes: number, error: number, copyBytes: number): number {
    const { whole } = this
    whole[0] = lenBytes
    whole[1] = error
    whole[2] = this.uniqueLow
    whole[3] = this.uniqueHigh
    return this.carrier.writeWords(copyBytes, whole, this.wholeBytes) ? lenBytes : 0
  }
}

/** The reply that a request is still owed. One of `succeed`, `succeedInPlace`, `fail` and `finish` is called, once. */
export class DeferredReply implements ReplyPlace {
  carrier!: Carrier
  private readonly words = new Int32Array((OutHeader.BYTES + DEFERRED_BYTES) / 4)
  private readonly bytes = new Uint8Array(this.words.buffer)
  readonly reply = new DataView(this.words.buffer, OutHeader.BYTES)
  readonly replyWords = new Int32Array(this.words.buffer, OutHeader.BYTES)
  private inPlaceBytes = 0
  private opcode = 0

  constructor(
    private readonly idle: DeferredReply[],
    private readonly counters: Counters,
  ) {}

  begin(carrier: Carrier, uniqueLow: number, uniqueHigh: number, opcode: number): void {
    this.carrier = carrier
    this.opcode = opcode
    this.words[2] = uniqueLow
    this.words[3] = uniqueHigh
  }

  get replyRoomBytes(): number {
    return Math.max(0, this.carrier.writableBytes - OutHeader.BYTES)
  }

  replyData(data: Uint8Array, skipBytes = 0): boolean {
    return this.carrier.write(OutHeader.BYTES + skipBytes, data.length, data, 0)
  }

  replyInPlace(lenBytes: number): number {
    this.inPlaceBytes = lenBytes
    return IN_PLACE
  }

  /** Sends what an operation has returned that has put its reply together here: a length, a negative errno or IN_PLACE. */
  finish(result: number): void {
    if (result === IN_PLACE) this.succeedInPlace(this.inPlaceBytes)
    else if (result >= 0) this.succeed(result)
    else this.fail(result)
  }

  succeed(lenBytes: number): void {
    this.send(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES + lenBytes)
  }

  /** For a reply whose `lenBytes` of data lie behind the header already. */
  succeedInPlace(lenBytes: number): void {
    this.send(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES)
  }

  /** `error` is a negative errno. */
  fail(error: number): void {
    this.counters.failed(this.opcode)
    this.send(OutHeader.BYTES, error, OutHeader.BYTES)
  }

  private send(lenBytes: number, error: number, copyBytes: number): void {
    const { words, carrier } = this
    words[0] = lenBytes
    words[1] = error
    carrier.complete(carrier.writeWords(copyBytes, words, this.bytes) ? lenBytes : 0)
    this.idle.push(this)
  }
}

const REPLACEMENT = '\ufffd'

/** The text that begins at a byte and ends before the next NUL. */
function textAt(bytes: Uint8Array, at: number): string | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.indexOf(0, at)
  const text = view.toString('utf8', at, end)
  // What cannot be read becomes this character, which a name may also have.
  if (text.includes(REPLACEMENT) && Buffer.from(text).compare(view, at, end) !== 0) return undefined
  return text
}
