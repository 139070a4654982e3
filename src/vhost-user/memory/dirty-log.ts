import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed, ProtocolError } from '../errors.js'
import { VHOST_LOG_PAGE } from '../protocol.js'
import type { DescriptorChain } from '../rings/descriptor-chain.js'

/** The bytes of a log for guest addresses up to `endGpa`. */
export function logBytesFor(endGpa: number): number {
  return Math.ceil(endGpa / VHOST_LOG_PAGE / 8)
}

/**
 * Marks to leave out: 'reply' those of the first writable segment of a request, 'data' those of the others, 'used ring'
 * those of the rings. Only for tests, which must then fail.
 */
export type LeftOutMarks = 'reply' | 'data' | 'used ring' | undefined

/**
 * The front-end's log of the guest pages that the device has written (SET_LOG_BASE). The front-end copies marked pages to
 * the guest's new place, and clears marks while they are set.
 */
export class DirtyLog {
  private readonly mapping: native.DirtyLogMapping
  private readonly range = new Float64Array(2)

  /** Maps the log. The caller keeps `fd`. Throws ProtocolError BAD_LOG. */
  constructor(
    fd: number,
    private readonly sizeBytes: number,
    fileOffsetBytes: number,
    private readonly leftOut: LeftOutMarks = undefined,
  ) {
    const inRange = sizeBytes > 0 && fileOffsetBytes >= 0 && Number.isSafeInteger(sizeBytes + fileOffsetBytes)
    const mapping = inRange ? native.dirtyLogOpen(fd, fileOffsetBytes, sizeBytes) : -os.errno.EINVAL
    if (typeof mapping === 'number') {
      throw new ProtocolError('BAD_LOG', `a log of ${sizeBytes} bytes cannot be mapped: errno ${-mapping}`)
    }
    this.mapping = mapping
  }

  /** Throws ProtocolError BAD_LOG if guest addresses up to `endGpa` are more than the log has bits for. */
  mustCover(endGpa: number): void {
    const needBytes = logBytesFor(endGpa)
    if (needBytes > this.sizeBytes) {
      throw new ProtocolError(
        'BAD_LOG',
        `the log has ${this.sizeBytes} bytes, and guest memory up to ${endGpa} needs ${needBytes}`,
      )
    }
  }

  /**
   * Marks every page that the device may have written for a request: all of its writable segments, since a transfer that
   * failed may have put bytes behind the reply.
   */
  markWritable({ segments, readableSegments, segmentCount }: DescriptorChain): void {
    const first = this.leftOut === 'reply' ? readableSegments + 1 : readableSegments
    const end = this.leftOut === 'data' ? Math.min(readableSegments + 1, segmentCount) : segmentCount
    if (first < end) mustSucceed('dirtyLogMark', native.dirtyLogMark(this.mapping, segments, first, end))
  }

  /** Marks the pages of a used ring, which the caller has found inside the log. */
  markRing(gpa: number, lenBytes: number): void {
    if (this.leftOut === 'used ring') return
    this.range[0] = gpa
    this.range[1] = lenBytes
    mustSucceed('dirtyLogMark', native.dirtyLogMark(this.mapping, this.range, 0, 1))
  }

  /** True if the front-end has truncated the log's file, and a mark was lost. */
  get isLost(): boolean {
    return native.dirtyLogIsLost(this.mapping)
  }

  close(): void {
    native.dirtyLogClose(this.mapping)
  }
}

/** What one queue marks: its requests, and its used ring if the front-end has asked for that (`usedGpa` not -1). */
export class QueueLog {
  constructor(
    private readonly log: DirtyLog,
    private readonly usedGpa: number,
    private readonly usedBytes: number,
  ) {}

  /**
   * A request is completed or given up, and its used element written. Marks may follow what the driver can already see:
   * they count when the queue has stopped.
   */
  wrote(chain: DescriptorChain): void {
    this.log.markWritable(chain)
    this.wroteRing()
  }

  wroteRing(): void {
    if (this.usedGpa >= 0) this.log.markRing(this.usedGpa, this.usedBytes)
  }
}
