/** Data of files. Little endian for every guest (virtio 1). */

import { readSafeI64, readSafeU64, writeU64 } from './numbers.js'

/** fuse_read_in: 40 bytes; also for READDIR and READDIRPLUS, whose offset is opaque. */
export const ReadIn = Object.freeze({
  BYTES: 40,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  cookieLow: (v: DataView, at: number) => v.getUint32(at + 8, true),
  cookieHigh: (v: DataView, at: number) => v.getUint32(at + 12, true),
  sizeBytes: (v: DataView, at: number) => v.getUint32(at + 16, true),
  readFlags: (v: DataView, at: number) => v.getUint32(at + 20, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 32, true),
})

/** fuse_write_in: 40 bytes, then the data. */
export const WriteIn = Object.freeze({
  BYTES: 40,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  sizeBytes: (v: DataView, at: number) => v.getUint32(at + 16, true),
  writeFlags: (v: DataView, at: number) => v.getUint32(at + 20, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 32, true),
})

/** fuse_write_out: bytes written, padding. 8 bytes. */
export const WriteOut = Object.freeze({
  BYTES: 8,
  write(v: DataView, at: number, sizeBytes: number) {
    v.setUint32(at, sizeBytes, true)
    v.setUint32(at + 4, 0, true)
  },
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})

/** fuse_fallocate_in: 32 bytes. */
export const FallocateIn = Object.freeze({
  BYTES: 32,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  lenBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  mode: (v: DataView, at: number) => v.getUint32(at + 24, true),
})

/** fuse_lseek_in: 24 bytes. */
export const LseekIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  /** The same with a sign, as SEEK_END takes it. NaN if a Number cannot hold it. */
  signedOffsetBytes: (v: DataView, at: number) => readSafeI64(v, at + 8),
  whence: (v: DataView, at: number) => v.getUint32(at + 16, true),
})

/** fuse_lseek_out: 8 bytes. */
export const LseekOut = Object.freeze({
  BYTES: 8,
  write: (v: DataView, at: number, offsetBytes: number) => writeU64(v, at, offsetBytes),
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_copy_file_range_in: 56 bytes. */
export const CopyFileRangeIn = Object.freeze({
  BYTES: 56,
  inHandle: (v: DataView, at: number) => readSafeU64(v, at),
  inOffsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  outNodeid: (v: DataView, at: number) => readSafeU64(v, at + 16),
  outHandle: (v: DataView, at: number) => readSafeU64(v, at + 24),
  outOffsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 32),
  /** Bytes, or -1 beyond 2^53. */
  lenBytes: (v: DataView, at: number) => readSafeU64(v, at + 40),
  writeLenBytes: (v: DataView, at: number, lenBytes: number) => writeU64(v, at + 40, lenBytes),
  flagsLow: (v: DataView, at: number) => v.getUint32(at + 48, true),
  flagsHigh: (v: DataView, at: number) => v.getUint32(at + 52, true),
})

/** fuse_copy_file_range_out: bytes copied. 8 bytes. */
export const CopyFileRangeOut = Object.freeze({
  BYTES: 8,
  write: (v: DataView, at: number, copiedBytes: number) => writeU64(v, at, copiedBytes),
  copiedBytes: (v: DataView, at: number) => readSafeU64(v, at),
})
