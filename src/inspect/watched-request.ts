import { type Carrier, OutHeader } from 'virtio-fs-ts/protocol'
import type { RequestSummary } from './request-summary.js'

/** A reply that is wrong on purpose, to test a guest that verifies replies. */
export type Violation = 'unique' | 'length' | 'positive-error'

export const violations: readonly Violation[] = ['unique', 'length', 'positive-error']

/** Words of a reply that are kept for who watches: header, and the longest part that says what was opened. */
const KEPT_WORDS = (OutHeader.BYTES + 144) / 4

/** Hears of the end of a request. */
export interface RequestObserver {
  completed(request: WatchedRequest): void
}

/**
 * A request that is watched from "seen on the ring" to "given back": it stands between the session and the chain that
 * brought it, sees the reply go by, and can spoil it.
 */
export class WatchedRequest implements Carrier {
  readonly readableBytes: number
  readonly writableBytes: number
  /** Of the reply: its length, its error (negative, or 0), and its first words. */
  replyBytes = 0
  error = 0
  readonly reply = new Int32Array(KEPT_WORDS)
  /** What the operation is to fail with, a negative errno; 0: it is carried out. */
  forcedError = 0
  /** The READ or WRITE is to move no more than this. */
  shortBytes: number | undefined
  violation: Violation | undefined
  /** The number of the fault that was applied, 0 for none. */
  faultId = 0
  /** Most requests of the same kind on the same inode in flight at any time of this one's life, itself included. */
  overlap = 1
  doneMs = 0

  constructor(
    readonly carrier: Carrier,
    readonly queueIndex: number,
    readonly summary: RequestSummary,
    readonly seenMs: number,
    private readonly observer: RequestObserver,
  ) {
    this.readableBytes = carrier.readableBytes
    this.writableBytes = carrier.writableBytes
  }

  readWords(skipBytes: number, lenBytes: number, out: Int32Array, outBytes: Uint8Array): boolean {
    return this.carrier.readWords(skipBytes, lenBytes, out, outBytes)
  }

  read(skipBytes: number, lenBytes: number, out: Uint8Array, at: number): boolean {
    return this.carrier.read(skipBytes, lenBytes, out, at)
  }

  /** The reply's header is always written by this, and last. */
  writeWords(lenBytes: number, from: Int32Array, fromBytes: Uint8Array): boolean {
    this.replyBytes = from[0]!
    this.error = from[1]!
    this.reply.set(from.subarray(0, Math.min(lenBytes >> 2, KEPT_WORDS)))
    if (this.violation !== undefined) spoil(from, this.violation)
    return this.carrier.writeWords(lenBytes, from, fromBytes)
  }

  write(skipBytes: number, lenBytes: number, from: Uint8Array, at: number): boolean {
    return this.carrier.write(skipBytes, lenBytes, from, at)
  }

  readFromFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number {
    return this.carrier.readFromFile(skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  writeToFile(skipBytes: number, lenBytes: number, fd: number, offsetBytes: number, flags: number): number {
    return this.carrier.writeToFile(skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  startReadFromFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number {
    return this.carrier.startReadFromFile(token, skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  startWriteToFile(
    token: number,
    skipBytes: number,
    lenBytes: number,
    fd: number,
    offsetBytes: number,
    flags: number,
  ): number {
    return this.carrier.startWriteToFile(token, skipBytes, lenBytes, fd, offsetBytes, flags)
  }

  complete(lenBytes: number): void {
    this.carrier.complete(lenBytes)
    this.observer.completed(this)
  }
}

/** Spoils a reply header: length, error, unique (two words). */
function spoil(words: Int32Array, violation: Violation): void {
  switch (violation) {
    case 'unique':
      words[2]! ^= 1
      break
    case 'length':
      words[0]! += 8
      break
    case 'positive-error':
      words[1] = 5
      break
  }
}
