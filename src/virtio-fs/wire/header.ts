/** Headers of requests and replies, and request extensions. Little endian for every guest (virtio 1). */

import { readSafeU64 } from './numbers.js'

/** fuse_in_header: 40 bytes, at byte 0 of a request. */
export const InHeader = Object.freeze({
  BYTES: 40,
  lenBytes: (v: DataView) => v.getUint32(0, true),
  opcode: (v: DataView) => v.getUint32(4, true),
  uniqueLow: (v: DataView) => v.getInt32(8, true),
  uniqueHigh: (v: DataView) => v.getInt32(12, true),
  nodeid: (v: DataView) => readSafeU64(v, 16),
  uid: (v: DataView) => v.getUint32(24, true),
  gid: (v: DataView) => v.getUint32(28, true),
  pid: (v: DataView) => v.getUint32(32, true),
  /** Extensions after the arguments, in units of 8 bytes (7.38). */
  totalExtlen: (v: DataView) => v.getUint16(36, true),
})

/** fuse_out_header: 16 bytes. */
export const OutHeader = Object.freeze({ BYTES: 16 })

/** Extension header: size in bytes including the header, type. For FUSE_EXT_GROUPS a count and the groups follow. */
export const ExtHeader = Object.freeze({
  BYTES: 8,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
  type: (v: DataView, at: number) => v.getUint32(at + 4, true),
  groupCount: (v: DataView, at: number) => v.getUint32(at + 8, true),
  group: (v: DataView, at: number, n: number) => v.getUint32(at + 12 + 4 * n, true),
})

/** fuse_secctx: size of the context, padding. 8 bytes, then the name of its attribute with a NUL, and the context. */
export const Secctx = Object.freeze({
  BYTES: 8,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})
