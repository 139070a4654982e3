import { closeSync, openSync, readSync } from 'node:fs'
import {
  RECORD_REQUEST,
  RECORD_STRING,
  RequestRecord,
  StringRecord,
  TRACE_MAGIC,
  TRACE_VERSION,
  type TracedRequest,
  TraceHeader,
} from './trace-format.js'

const PIECE_BYTES = 1 << 20

/** The file is not a trace, or its version is unknown. */
export class TraceError extends Error {
  override readonly name = 'TraceError'
}

/** A request with its wall-clock time of arrival. */
export interface TimedRequest {
  readonly request: TracedRequest
  readonly epochMs: number
}

/**
 * Yields the requests of a trace file of any size, in order of completion. A truncated trace ends with its
 * last whole record. Throws TraceError, and the errors of reading the file.
 */
export function* readTraceFile(path: string): Generator<TimedRequest> {
  const fd = openSync(path, 'r')
  try {
    yield* requestsOf(piecesOf(fd))
  } finally {
    closeSync(fd)
  }
}

function* piecesOf(fd: number): Generator<Uint8Array> {
  for (;;) {
    const piece = new Uint8Array(PIECE_BYTES)
    const lenBytes = readSync(fd, piece)
    if (lenBytes === 0) return
    yield piece.subarray(0, lenBytes)
  }
}

/** Yields the requests of a trace that arrives in pieces of any length. */
export function* requestsOf(pieces: Iterable<Uint8Array>): Generator<TimedRequest> {
  const parser = new TraceParser()
  for (const piece of pieces) yield* parser.take(piece)
  parser.end()
}

class TraceParser {
  private readonly decoder = new TextDecoder()
  private readonly strings = new Map<number, string>()
  /** The rest of the pieces so far: less than one record. */
  private rest = new Uint8Array(0)
  private restAt = 0
  private epochMs: number | undefined;

  /** Yields the requests that the new piece completes. */
  *take(piece: Uint8Array): Generator<TimedRequest> {
    const bytes = Buffer.concat([this.rest, piece])
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let at = 0
    if (this.epochMs === undefined) {
      if (bytes.length < TraceHeader.BYTES) return this.keep(bytes, 0)
      this.epochMs = this.readHeader(bytes, view)
      at = TraceHeader.BYTES
    }
    for (;;) {
      const lenBytes = this.recordBytes(view, at)
      if (lenBytes === 0 || at + lenBytes > bytes.length) return this.keep(bytes, at)
      if (view.getUint8(at) === RECORD_STRING) {
        this.readString(bytes, view, at)
      } else {
        const path = this.strings.get(RequestRecord.pathIndex(view, at))
        const request = RequestRecord.read(view, at, path)
        yield { request, epochMs: this.epochMs + request.seenMs }
      }
      at += lenBytes
    }
  }

  end(): void {
    if (this.epochMs === undefined) throw new TraceError('not a trace of virtiofsd-ts')
  }

  private keep(bytes: Uint8Array, at: number): void {
    this.rest = bytes.slice(at)
    this.restAt += at
  }

  private readHeader(bytes: Uint8Array, view: DataView): number {
    const magic = this.decoder.decode(bytes.subarray(0, TRACE_MAGIC.length))
    if (magic !== TRACE_MAGIC) throw new TraceError('not a trace of virtiofsd-ts')
    const version = TraceHeader.version(view, 0)
    if (version !== TRACE_VERSION) throw new TraceError(`trace of version ${version}, not ${TRACE_VERSION}`)
    return TraceHeader.epochMs(view, 0)
  }

  /** Returns the length of the record at `at`, or 0 if too few bytes have come to tell. */
  private recordBytes(view: DataView, at: number): number {
    if (at + StringRecord.HEADER_BYTES > view.byteLength) return 0
    const type = view.getUint8(at)
    if (type === RECORD_REQUEST) return RequestRecord.BYTES
    if (type === RECORD_STRING) return StringRecord.bytes(StringRecord.lenBytes(view, at))
    throw new TraceError(`record of unknown type ${type} at byte ${this.restAt + at}`)
  }

  private readString(bytes: Uint8Array, view: DataView, at: number): void {
    const from = at + StringRecord.HEADER_BYTES
    const text = this.decoder.decode(bytes.subarray(from, from + StringRecord.lenBytes(view, at)))
    this.strings.set(StringRecord.index(view, at), text)
  }
}
