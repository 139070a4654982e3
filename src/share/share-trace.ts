import type { FaultLog } from 'vhost-user-ts'
import type { Interceptor } from '../inspect/interceptor.js'
import { TRACE_CHUNK_BYTES, TraceWriter } from '../inspect/trace-writer.js'
import { CommandError } from './command-arguments.js'
import type { ShareConfig } from './share-config.js'
import type { WorkerMessage } from './worker-messages.js'

/** The most chunks on their way to the file; beyond this, the trace omits requests. */
const MAX_CHUNKS_UNDER_WAY = 64

/** The trace of a share, in chunks that the main thread writes to a file. */
export class ShareTrace {
  private readonly acks: Int32Array
  private chunksSent = 0

  /** `acks`: the number of chunks that the main thread has taken. */
  constructor(
    private readonly config: ShareConfig,
    acks: SharedArrayBuffer,
    private readonly interceptor: Interceptor,
    private readonly tell: (message: WorkerMessage) => void,
    private readonly faults: FaultLog,
  ) {
    this.acks = new Int32Array(acks)
  }

  /** Throws CommandError for a share without a trace file. */
  turn(on: boolean): void {
    const { interceptor, config } = this
    if (!on) {
      interceptor.traceTo(undefined)
      return
    }
    if (config.trace === undefined) throw new CommandError('the share was started without --trace FILE')
    interceptor.traceTo(
      new TraceWriter(
        (chunk, first) => this.send(chunk, first),
        config.traceBytes,
        (request) => interceptor.pathOf(request),
      ),
    )
  }

  /** The memory, in bytes, that chunks on their way take now, and at most. */
  get memory(): { readonly bytes: number; readonly limit: number } {
    return {
      bytes: this.chunksUnderWay * TRACE_CHUNK_BYTES,
      limit: MAX_CHUNKS_UNDER_WAY * TRACE_CHUNK_BYTES,
    }
  }

  private get chunksUnderWay(): number {
    return this.chunksSent - Atomics.load(this.acks, 0)
  }

  /** Sends a chunk. Drops it if the file is slower than the requests, so that memory stays bounded. */
  private send(chunk: Uint8Array, first: boolean): boolean {
    if (this.chunksUnderWay >= MAX_CHUNKS_UNDER_WAY) {
      this.faults.warn('the trace file is too slow: the trace omits requests', {})
      return false
    }
    this.chunksSent++
    this.tell({ type: 'trace', chunk, first })
    return true
  }
}
