/** Locks. Little endian for every guest (virtio 1). */

import { readSafeU64, writeU64 } from './numbers.js'

/** fuse_lk_in: 48 bytes. A range that ends at 2^63 - 1 has no end. */
export const LkIn = Object.freeze({
  BYTES: 48,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  ownerLow: (v: DataView, at: number) => v.getUint32(at + 8, true),
  ownerHigh: (v: DataView, at: number) => v.getUint32(at + 12, true),
  /** Bytes, or -1 beyond 2^53. */
  startBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  /** The last byte, or -1 beyond 2^53. */
  lastByte: (v: DataView, at: number) => readSafeU64(v, at + 24),
  type: (v: DataView, at: number) => v.getUint32(at + 32, true),
  pid: (v: DataView, at: number) => v.getUint32(at + 36, true),
  lkFlags: (v: DataView, at: number) => v.getUint32(at + 40, true),
})

/** fuse_lk_out: start, last byte, type, pid. 24 bytes. */
export const LkOut = Object.freeze({
  BYTES: 24,
  /** `lenBytes` 0 means up to the end of the file. */
  write(v: DataView, at: number, startBytes: number, lenBytes: number, type: number, pid: number) {
    writeU64(v, at, startBytes)
    if (lenBytes > 0) {
      writeU64(v, at + 8, startBytes + lenBytes - 1)
    } else {
      v.setUint32(at + 8, 0xffff_ffff, true)
      v.setUint32(at + 12, 0x7fff_ffff, true)
    }
    v.setUint32(at + 16, type, true)
    v.setUint32(at + 20, pid, true)
  },
  startBytes: (v: DataView, at: number) => readSafeU64(v, at),
  /** The last byte, or -1 for a range without an end. */
  lastByte: (v: DataView, at: number) => readSafeU64(v, at + 8),
  type: (v: DataView, at: number) => v.getUint32(at + 16, true),
  pid: (v: DataView, at: number) => v.getUint32(at + 20, true),
})
