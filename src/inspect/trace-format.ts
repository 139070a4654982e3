/**
 * The trace file: a header, then records, little endian. A string stands before the first record that uses
 * it, so each file is readable on its own, even if the file before it was cut.
 */
export const TRACE_MAGIC = 'VFSTRACE'
export const TRACE_VERSION = 2

/** File header: magic (8), version u32, padding, wall-clock time of time 0 as f64 milliseconds. 24 bytes. */
export const TraceHeader = Object.freeze({
  BYTES: 24,
  write(v: DataView, at: number, epochMs: number) {
    for (let n = 0; n < TRACE_MAGIC.length; n++) v.setUint8(at + n, TRACE_MAGIC.charCodeAt(n))
    v.setUint32(at + 8, TRACE_VERSION, true)
    v.setUint32(at + 12, 0, true)
    v.setFloat64(at + 16, epochMs, true)
  },
  version: (v: DataView, at: number) => v.getUint32(at + 8, true),
  epochMs: (v: DataView, at: number) => v.getFloat64(at + 16, true),
})

export const RECORD_REQUEST = 1
export const RECORD_STRING = 2

/** One request, 88 bytes. */
export const RequestRecord = Object.freeze({
  BYTES: 88,
  write(v: DataView, at: number, r: TracedRequest, pathIndex: number) {
    v.setUint8(at, RECORD_REQUEST)
    v.setUint8(at + 1, r.queue)
    v.setUint8(at + 2, r.opcode)
    v.setUint8(at + 3, 0)
    v.setInt32(at + 4, r.error, true)
    v.setFloat64(at + 8, r.seenMs, true)
    v.setFloat32(at + 16, r.latencyUs, true)
    v.setUint32(at + 20, r.replyBytes, true)
    v.setFloat64(at + 24, r.nodeid, true)
    v.setFloat64(at + 32, r.handle, true)
    v.setFloat64(at + 40, r.offsetBytes, true)
    v.setFloat64(at + 48, r.sizeBytes, true)
    v.setUint32(at + 56, r.flags, true)
    v.setUint32(at + 60, r.detailFlags, true)
    v.setUint32(at + 64, r.openFlags, true)
    v.setUint32(at + 68, pathIndex, true)
    v.setUint32(at + 72, r.overlap, true)
    v.setUint32(at + 76, r.faultId, true)
    v.setUint32(at + 80, r.pid, true)
    v.setUint32(at + 84, r.unique, true)
  },
  pathIndex: (v: DataView, at: number) => v.getUint32(at + 68, true),
  read(v: DataView, at: number, path: string | undefined): TracedRequest {
    return {
      queue: v.getUint8(at + 1),
      opcode: v.getUint8(at + 2),
      error: v.getInt32(at + 4, true),
      seenMs: v.getFloat64(at + 8, true),
      latencyUs: v.getFloat32(at + 16, true),
      replyBytes: v.getUint32(at + 20, true),
      nodeid: v.getFloat64(at + 24, true),
      handle: v.getFloat64(at + 32, true),
      offsetBytes: v.getFloat64(at + 40, true),
      sizeBytes: v.getFloat64(at + 48, true),
      flags: v.getUint32(at + 56, true),
      detailFlags: v.getUint32(at + 60, true),
      openFlags: v.getUint32(at + 64, true),
      overlap: v.getUint32(at + 72, true),
      faultId: v.getUint32(at + 76, true),
      pid: v.getUint32(at + 80, true),
      unique: v.getUint32(at + 84, true),
      path,
    }
  },
})

/** A string: type, padding, length u16, index u32, bytes, padded to 8. */
export const StringRecord = Object.freeze({
  HEADER_BYTES: 8,
  bytes: (lenBytes: number) => (8 + lenBytes + 7) & ~7,
  writeHeader(v: DataView, at: number, index: number, lenBytes: number) {
    v.setUint8(at, RECORD_STRING)
    v.setUint8(at + 1, 0)
    v.setUint16(at + 2, lenBytes, true)
    v.setUint32(at + 4, index, true)
  },
  lenBytes: (v: DataView, at: number) => v.getUint16(at + 2, true),
  index: (v: DataView, at: number) => v.getUint32(at + 4, true),
})

/** One request in a trace. */
export interface TracedRequest {
  readonly queue: number
  readonly opcode: number
  /** Zero, or a negative errno. */
  readonly error: number
  /** Time of arrival on the ring, in milliseconds since time 0. */
  readonly seenMs: number
  /** Time from arrival to completion. */
  readonly latencyUs: number
  /** Length of the reply, header included; 0 for no reply. */
  readonly replyBytes: number
  readonly nodeid: number
  /** The handle that the request names, or that the reply to OPEN, OPENDIR or CREATE gives. 0: none. */
  readonly handle: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  /** Open flags. */
  readonly flags: number
  /** Write, release, fsync or rename flags, SETATTR's attributes, fallocate's mode, lseek's whence. */
  readonly detailFlags: number
  /** FOPEN flags in the reply to OPEN, OPENDIR or CREATE. */
  readonly openFlags: number
  /** The most WRITEs in flight on the inode during this one; 0: not counted. */
  readonly overlap: number
  /** The number of the applied fault, or 0 for none. */
  readonly faultId: number
  /** The guest's thread that sent the request. */
  readonly pid: number
  /** The low 32 bits of the request's number in the session, as the guest's trace events print it. 0 in older traces. */
  readonly unique: number
  readonly path: string | undefined
}
