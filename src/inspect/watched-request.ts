import { type Carrier, errnoNumber, OutHeader } from 'virtio-fs-ts/protocol'
import type { RequestSummary } from './request-summary.js'

/** A deliberately wrong reply, to test a guest that verifies replies. */
export const violations = ['unique', 'length', 'positive-error', 'error-with-data', 'no-data'] as const
export type Violation = (typeof violations)[number]

/** Words of a reply to keep for observers: the header, and the longest part that describes an open. */
const KEPT_WORDS = (OutHeader.BYTES + 144) / 4

/** Receives the end of each watched request. */
export interface RequestObserver {
  completed(request: WatchedRequest): void
}

/**
 * A request under observation, from its arrival on the ring to its completion. It stands between the session
 * and the chain that carries the request, sees the reply pass, and can spoil it.
 */
export class WatchedRequest implements Carrier {
  readonly readableBytes: number
  readonly writableBytes: number
  /** The reply's length, its error (0 or negative), and its first words. */
  replyBytes = 0
  error = 0
  readonly reply = new Int32Array(KEPT_WORDS)
  /** The errno, negative, to fail the operation with; 0: perform the operation. */
  forcedError = 0
  /** The most bytes that the READ or WRITE may move. */
  shortBytes: number | undefined
  violation: Violation | undefined
  /** The number of the applied fault, or 0 for none. */
  faultId = 0
  /** The most requests of the same kind on the same inode in flight during this one, including itself. */
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

  get followerCount(): number {
    return this.carrier.followerCount ?? 0
  }

  readWords(skipBytes: number, lenBytes: number, out: Int32Array, outBytes: Uint8Array): boolean {
    return this.carrier.readWords(skipBytes, lenBytes, out, outBytes)
  }

  read(skipBytes: number, lenBytes: number, out: Uint8Array, at: number): boolean {
    return this.carrier.read(skipBytes, lenBytes, out, at)
  }

  /** The session always writes the reply's header through this method, and last. */
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
    isCached?: boolean,
  ): number {
    return this.carrier.startReadFromFile(token, skipBytes, lenBytes, fd, offsetBytes, flags, isCached)
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
    this.carrier.complete(lacksData(this.violation) ? OutHeader.BYTES : lenBytes)
    this.observer.completed(this)
  }
}

function lacksData(violation: Violation | undefined): boolean {
  return violation === 'no-data' || violation === 'positive-error'
}

/** Spoils a reply header's words: length, error, unique (two words). */
function spoil(words: Int32Array, violation: Violation): void {
  switch (violation) {
    case 'unique':
      words[2]! ^= 1
      break
    case 'length':
      words[0]! += 8
      break
    case 'positive-error':
      words[0] = OutHeader.BYTES
      words[1] = errnoNumber('EIO')!
      break
    case 'error-with-data':
      words[1] = -errnoNumber('ENOENT')!
      break
    case 'no-data':
      words[0] = OutHeader.BYTES
      break
  }
}
