import { performance } from 'node:perf_hooks'
import { Opcode } from 'virtio-fs-ts/protocol'
import { BEHIND_ENTRY, BEHIND_HEADER, OpenReply } from './open-reply.js'
import { RequestRecord, StringRecord, type TracedRequest, TraceHeader } from './trace-format.js'
import type { WatchedRequest } from './watched-request.js'

/** Size of the chunks in which a trace is handed over. */
export const TRACE_CHUNK_BYTES = 256 * 1024
/** The longest time before records go to the file. */
const FLUSH_AFTER_MS = 200
/** The most paths remembered as written; beyond this, the numbering starts again. */
const MAX_STRINGS = 50_000
const LONGEST_STRING_BYTES = 4096

/**
 * Takes a chunk of a trace. Returns false if it dropped the chunk because earlier ones are still on their
 * way.
 */
export type ChunkSink = (chunk: Uint8Array, first: boolean) => boolean

/**
 * Encodes requests into chunks of a bounded file. After `fileBytes` the next chunk begins a new file. Each
 * file begins with a header and repeats the strings it needs.
 */
export class TraceWriter {
  private chunk = new Uint8Array(TRACE_CHUNK_BYTES)
  private view = new DataView(this.chunk.buffer)
  private readonly encoder = new TextEncoder()
  private readonly strings = new Map<string, number>()
  private used = 0
  private written = 0
  private startsFile = true
  private firstMs = 0
  /** Requests lost because the file could not be written fast enough. */
  dropped = 0
  private inChunk = 0

  constructor(
    private readonly sink: ChunkSink,
    private readonly fileBytes: number,
    private readonly pathOf: (request: WatchedRequest) => string | undefined,
  ) {
    this.beginFile()
  }

  add(request: WatchedRequest): void {
    if (this.used + StringRecord.bytes(LONGEST_STRING_BYTES) + RequestRecord.BYTES > TRACE_CHUNK_BYTES)
      this.flush()
    if (this.inChunk === 0) this.firstMs = performance.now()
    const pathIndex = this.indexOf(this.pathOf(request))
    RequestRecord.write(this.view, this.used, tracedRequest(request), pathIndex)
    this.used += RequestRecord.BYTES
    this.inChunk++
  }

  /** Returns the milliseconds until the next write is due, or -1 if no record waits. */
  nextDueMs(nowMs: number): number {
    return this.inChunk === 0 ? -1 : Math.max(0, this.firstMs + FLUSH_AFTER_MS - nowMs)
  }

  flushIfDue(nowMs: number): void {
    if (this.inChunk > 0 && nowMs >= this.firstMs + FLUSH_AFTER_MS) this.flush()
  }

  flush(): void {
    if (this.used === 0) return
    if (!this.sink(this.chunk.subarray(0, this.used), this.startsFile)) this.dropped += this.inChunk
    this.written += this.used
    this.startsFile = false
    this.inChunk = 0
    this.used = 0
    // A new buffer: the sink may keep the old one.
    this.chunk = new Uint8Array(TRACE_CHUNK_BYTES)
    this.view = new DataView(this.chunk.buffer)
    if (this.written >= this.fileBytes) this.beginFile()
  }

  private beginFile(): void {
    this.strings.clear()
    this.written = 0
    this.startsFile = true
    TraceHeader.write(this.view, 0, performance.timeOrigin)
    this.used = TraceHeader.BYTES
  }

  /** Returns the string's number, after writing its record if necessary. 0: no string. */
  private indexOf(text: string | undefined): number {
    if (text === undefined) return 0
    const known = this.strings.get(text)
    if (known !== undefined) return known
    if (this.strings.size >= MAX_STRINGS) this.strings.clear()
    const index = this.strings.size + 1
    const bytes = this.encoder.encode(text).subarray(0, LONGEST_STRING_BYTES)
    StringRecord.writeHeader(this.view, this.used, index, bytes.length)
    this.chunk.set(bytes, this.used + StringRecord.HEADER_BYTES)
    this.used += StringRecord.bytes(bytes.length)
    this.strings.set(text, index)
    return index
  }
}

function tracedRequest(request: WatchedRequest): TracedRequest {
  const { summary, reply, error } = request
  const at = error === 0 ? openOutAt(summary.opcode) : undefined
  return {
    ...summary,
    handle: at === undefined ? summary.handle : OpenReply.handle(reply, at),
    queue: request.queueIndex,
    error,
    seenMs: request.seenMs,
    latencyUs: (request.doneMs - request.seenMs) * 1000,
    replyBytes: request.replyBytes,
    openFlags: at === undefined ? 0 : OpenReply.openFlags(reply, at),
    overlap: summary.opcode === Opcode.WRITE ? request.overlap : 0,
    faultId: request.faultId,
    path: undefined,
  }
}

function openOutAt(opcode: number): number | undefined {
  if (opcode === Opcode.OPEN || opcode === Opcode.OPENDIR) return BEHIND_HEADER
  return opcode === Opcode.CREATE ? BEHIND_ENTRY : undefined
}
