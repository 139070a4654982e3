import { Opcode } from './abi.js'
import { Counters } from './counters.js'
import { errorForGuest } from './errno.js'
import { CopyFileRangeOut, WriteOut } from './wire/data.js'
import { InHeader, OutHeader } from './wire/header.js'

/**
 * Carries a request and takes its reply: a stream of readable bytes (header, arguments, data) and room for the reply. A
 * vhost-user descriptor chain is one. The sender may change its bytes at any time, so they are copied and then checked.
 */
export interface Carrier {
  readonly readableBytes: number
  readonly writableBytes: number
  /** The number of further requests of the sender that wait. */
  readonly followerCount?: number
  /** Copies readable bytes, words first. `skipBytes` is a multiple of 4. Returns false if there are too few. */
  readWords(skipBytes: number, lenBytes: number, out: Int32Array, outBytes: Uint8Array): boolean
  read(skipBytes: number, lenBytes: number, out: Uint8Array, at: number): boolean
  /** Copies the first `lenBytes` of `from` to the start of the reply. Returns false without room. */
  writeWords(lenBytes: number, from: Int32Array, fromBytes: Uint8Array): boolean
  write(skipBytes: number, lenBytes: number, from: Uint8Array, at: number): boolean
  /** preadv2 of a file into the reply, `skipBytes` after its start. Returns bytes read, or a negative errno. */
  readFromFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number
  /** pwritev2 of the request's bytes from `skipBytes` on to a file. Returns bytes written, or a negative errno. */
  writeToFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number
  /**
   * Starts such a transfer and returns at once. `token` comes back with the result. `isCached`: the data of the file is in
   * memory, so that copying it takes a processor and no wait. Returns 0 or a negative errno.
   */
  startReadFromFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
    isCached?: boolean,
  ): number
  startWriteToFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number
  /** Returns a request whose reply came later, with `lenBytes` of it written. */
  complete(lenBytes: number): void
  /** Set by a wrapper: the carrier it observes. */
  readonly carrier?: Carrier
}

/**
 * An operation returns the bytes it put at `reply` (0 or more), a negative errno, or one of these values. They are beyond
 * every errno: the kernel accepts none below -511.
 */
export const NO_REPLY = -1001
/** The reply's data is already in place: `inPlaceBytes` after the header. */
export const IN_PLACE = -1002
/** The reply comes later, from a `DeferredReply` that the operation keeps. */
export const PENDING_REPLY = -1003
/** The host has to give something up first. The request is served again from the beginning, a little later. */
export const POSTPONED = -1005
/** A gate keeps the request, and lets it in later. Sessions alone use it. */
export const HELD = -1006
/** Another thread has to serve the request: it stays in flight, and is served there from its beginning. */
export const LEFT = -1007

/** A request with longer arguments is refused with EINVAL. Data of WRITE does not count. */
export const MAX_ARG_BYTES = 128 * 1024
/** The longest reply that is built here. Data of READ does not count. */
export const MAX_REPLY_BYTES = 256 * 1024

/** Room for the arguments of a later reply. STATX has the longest of fixed length. Data does not count. */
const DEFERRED_BYTES = 288

/** Offset of the arguments in `args`. */
export const ARGS = InHeader.BYTES

/** A place to build a reply: for the present request, or for one that is answered later. */
export interface ReplyPlace {
  /** Room for the reply's arguments. Byte 0 follows the reply header. */
  readonly reply: DataView
  readonly replyWords: Int32Array
  /** Room for data after the reply's header. */
  readonly replyRoomBytes: number
  /** Copies data of any length to the reply, `skipBytes` after the header. Returns false without room. */
  replyData(data: Uint8Array, skipBytes?: number): boolean
  /** Says that `lenBytes` of data are in place. Returns the operation's result. */
  replyInPlace(lenBytes: number): number
}

/**
 * The request being served: one object per session, refilled each time. Operations read copies only, which the sender can
 * no longer change.
 */
export class Request implements ReplyPlace {
  /** Header and arguments. The arguments begin at byte ARGS. */
  readonly args: DataView
  readonly argBytes: Uint8Array
  readonly reply: DataView
  readonly replyBytes: Uint8Array
  readonly replyWords: Int32Array

  carrier!: Carrier
  opcode = 0
  /** -1 if it exceeds 2^53, which no node id of ours does. */
  nodeid = 0
  uid = 0
  gid = 0
  pid = 0
  uniqueLow = 0
  uniqueHigh = 0
  /** Length of the request by its header, until `takeWhole`. */
  lenBytes = 0
  /** Offsets in `argBytes` of the request's first and second name, which are checked and NUL-terminated. */
  nameAt = 0
  secondNameAt = 0
  /** Bytes of data after the header, set by an operation that returns IN_PLACE. */
  inPlaceBytes = 0
  /** When it was taken from the guest, by performance.now(); 0: latencies are not counted. */
  startMs = 0
  /**
   * Offset of the extensions in `args`, or lenBytes without extensions. The header's value, unchecked: it may be negative or
   * lie before the arguments.
   */
  extensionsAt = 0

  private readonly words = new Int32Array((ARGS + MAX_ARG_BYTES) / 4 + 2)
  private readonly headerWords: Int32Array
  private readonly whole: Int32Array
  private readonly wholeBytes: Uint8Array
  /** The arguments without the header. */
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

  /** Reads the header from `carrier`. Returns false if there is none. */
  begin(carrier: Carrier): boolean {
    this.carrier = carrier
    const { args } = this
    this.lenBytes = 0
    this.startMs = 0
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
    return true
  }

  /** Returns true if the length in the header is possible. */
  get isWhole(): boolean {
    return this.lenBytes >= InHeader.BYTES && this.lenBytes <= this.carrier.readableBytes
  }

  /**
   * Takes all that has come, as far as it can be arguments, whatever length the header says. For requests of fixed arguments:
   * Windows' driver says the bytes that a READ asks for.
   */
  takeWhole(): void {
    this.lenBytes = Math.min(this.carrier.readableBytes, InHeader.BYTES + MAX_ARG_BYTES)
    this.extensionsAt = this.lenBytes
  }

  /** Copies up to `maxBytes` of the arguments. Returns their present length, or -1 if they are too long. */
  loadArgs(maxBytes: number): number {
    const lenBytes = Math.min(this.lenBytes - ARGS, maxBytes)
    if (lenBytes > MAX_ARG_BYTES) return -1
    if (lenBytes > 0 && !this.carrier.readWords(ARGS, lenBytes, this.argWords, this.argTail)) return -1
    return lenBytes
  }

  /** Bytes of data after arguments of `argBytes`: the data of a WRITE. */
  payloadBytes(argBytes: number): number {
    return this.lenBytes - ARGS - argBytes
  }

  /** Copies `lenBytes` of the data after arguments of `argBytes`. Returns undefined if there are too few. */
  payload(argBytes: number, lenBytes: number): Uint8Array | undefined {
    const data = new Uint8Array(Math.min(lenBytes, this.payloadBytes(argBytes)))
    if (data.length < lenBytes) return undefined
    return this.carrier.read(ARGS + argBytes, lenBytes, data, 0) ? data : undefined
  }

  /** The request's first name. Undefined if it is not valid UTF-8, because no string can represent it. */
  name(): string | undefined {
    return textAt(this.argBytes, this.nameAt)
  }

  /** The second name of RENAME, or the target of SYMLINK. */
  secondName(): string | undefined {
    return textAt(this.argBytes, this.secondNameAt)
  }

  get replyRoomBytes(): number {
    return Math.max(0, this.carrier.writableBytes - OutHeader.BYTES)
  }

  /**
   * For READ: fills the reply's data from byte `doneBytes` up to `lenBytes`, from a file. The reply's first byte is the
   * file's byte `offsetBytes`. Returns bytes read, or a negative errno.
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

  /** For WRITE: writes `lenBytes` of the data after arguments of `argBytes` to a file. Returns bytes or a negative errno. */
  payloadToFile(argBytes: number, fd: number, offsetBytes: number, lenBytes: number, flags: number): number {
    return this.carrier.writeToFile(ARGS + argBytes, lenBytes, fd, offsetBytes, flags)
  }

  /** Sends a success with the first `lenBytes` of `reply`. Returns the reply's length, or 0 without room. */
  succeed(lenBytes: number): number {
    countData(this.counters, this.opcode, this.reply, lenBytes)
    return this.finish(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES + lenBytes)
  }

  /** Sends the header for `inPlaceBytes` of data that already follow it. */
  succeedInPlace(): number {
    if (this.opcode === Opcode.READ) this.counters.read(this.inPlaceBytes)
    return this.finish(OutHeader.BYTES + this.inPlaceBytes, 0, OutHeader.BYTES)
  }

  /** Sends an error (a negative errno): a header without data. */
  fail(error: number): number {
    this.counters.failed(this.opcode)
    return this.finish(OutHeader.BYTES, errorForGuest(error), OutHeader.BYTES)
  }

  /** Takes the request over for a later answer. The operation then returns PENDING_REPLY. */
  defer(): DeferredReply {
    const deferred = this.idleReplies.pop() ?? this.newReply()
    deferred.begin(this)
    return deferred
  }

  /** Number of replies still to come. */
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
    this.counters.answered(this.opcode, this.startMs)
    return this.carrier.writeWords(copyBytes, whole, this.wholeBytes) ? lenBytes : 0
  }
}

/** A reply still to come. Call one of `succeed`, `succeedInPlace`, `fail` and `finish`, once. */
export class DeferredReply implements ReplyPlace {
  carrier!: Carrier
  private readonly words = new Int32Array((OutHeader.BYTES + DEFERRED_BYTES) / 4)
  private readonly bytes = new Uint8Array(this.words.buffer)
  readonly reply = new DataView(this.words.buffer, OutHeader.BYTES)
  readonly replyWords = new Int32Array(this.words.buffer, OutHeader.BYTES)
  private inPlaceBytes = 0
  private opcode = 0
  private startMs = 0

  constructor(
    private readonly idle: DeferredReply[],
    private readonly counters: Counters,
  ) {}

  begin({ carrier, uniqueLow, uniqueHigh, opcode, startMs }: Request): void {
    this.carrier = carrier
    this.opcode = opcode
    this.startMs = startMs
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

  /** Sends the result of an operation that has built its reply here: a length, a negative errno or IN_PLACE. */
  finish(result: number): void {
    if (result === IN_PLACE) this.succeedInPlace(this.inPlaceBytes)
    else if (result >= 0) this.succeed(result)
    else this.fail(result)
  }

  succeed(lenBytes: number): void {
    countData(this.counters, this.opcode, this.reply, lenBytes)
    this.send(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES + lenBytes)
  }

  /** For a reply whose `lenBytes` of data already follow the header. */
  succeedInPlace(lenBytes: number): void {
    if (this.opcode === Opcode.READ) this.counters.read(lenBytes)
    this.send(OutHeader.BYTES + lenBytes, 0, OutHeader.BYTES)
  }

  /** `error` is a negative errno. */
  fail(error: number): void {
    this.counters.failed(this.opcode)
    this.send(OutHeader.BYTES, errorForGuest(error), OutHeader.BYTES)
  }

  /** Sends no reply: the request is served again from its beginning. */
  forget(): void {
    this.idle.push(this)
  }

  private send(lenBytes: number, error: number, copyBytes: number): void {
    const { words, carrier } = this
    words[0] = lenBytes
    words[1] = error
    this.counters.answered(this.opcode, this.startMs)
    carrier.complete(carrier.writeWords(copyBytes, words, this.bytes) ? lenBytes : 0)
    this.idle.push(this)
  }
}

/** Counts the bytes that a reply of `lenBytes` speaks of. */
function countData(counters: Counters, opcode: number, reply: DataView, lenBytes: number): void {
  if (opcode === Opcode.WRITE) counters.wrote(WriteOut.sizeBytes(reply, 0))
  else if (opcode === Opcode.READ) counters.read(lenBytes)
  else if (opcode === Opcode.COPY_FILE_RANGE || opcode === Opcode.COPY_FILE_RANGE_64)
    counters.copied(CopyFileRangeOut.copiedBytes(reply, 0))
}

const REPLACEMENT = '\ufffd'

/** Returns the text from a byte to the next NUL. */
function textAt(bytes: Uint8Array, at: number): string | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.indexOf(0, at)
  const text = view.toString('utf8', at, end)
  // Invalid bytes decode to this character, which a valid name may also contain.
  if (text.includes(REPLACEMENT) && Buffer.from(text).compare(view, at, end) !== 0) return undefined
  return text
}
