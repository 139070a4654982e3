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

/** The file is no trace, or of a version that is not known. */
export class TraceError extends Error {
  override readonly name = 'TraceError'
}

/** Wall-clock time of a trace's time 0, and its requests one by one. A file that is cut ends with its last whole record. */
export interface Trace {
  readonly epochMs: number
  readonly requests: Iterable<TracedRequest>
}

/** Reads a trace file's contents. Throws TraceError. */
export function readTrace(bytes: Uint8Array): Trace {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = new TextDecoder().decode(bytes.subarray(0, TRACE_MAGIC.length))
  if (bytes.length < TraceHeader.BYTES || magic !== TRACE_MAGIC)
    throw new TraceError('not a trace of virtiofsd-ts')
  const version = TraceHeader.version(view, 0)
  if (version !== TRACE_VERSION) throw new TraceError(`trace of version ${version}, not ${TRACE_VERSION}`)
  return { epochMs: TraceHeader.epochMs(view, 0), requests: requestsOf(bytes, view) }
}

function* requestsOf(bytes: Uint8Array, view: DataView): Generator<TracedRequest> {
  const decoder = new TextDecoder()
  const strings = new Map<number, string>()
  for (let at: number = TraceHeader.BYTES; at + StringRecord.HEADER_BYTES <= bytes.length; ) {
    const type = view.getUint8(at)
    if (type === RECORD_STRING) {
      const lenBytes = StringRecord.lenBytes(view, at)
      const from = at + StringRecord.HEADER_BYTES
      strings.set(StringRecord.index(view, at), decoder.decode(bytes.subarray(from, from + lenBytes)))
      at += StringRecord.bytes(lenBytes)
    } else if (type === RECORD_REQUEST) {
      if (at + RequestRecord.BYTES > bytes.length) return
      yield RequestRecord.read(view, at, strings.get(RequestRecord.pathIndex(view, at)))
      at += RequestRecord.BYTES
    } else {
      throw new TraceError(`record of unknown type ${type} at byte ${at}`)
    }
  }
}
