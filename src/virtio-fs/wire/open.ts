/** Opening, creating, closing. Little endian for every guest (virtio 1). */

import { readSafeU64, writeU64 } from './numbers.js'

/** fuse_open_in: 8 bytes. */
export const OpenIn = Object.freeze({
  BYTES: 8,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  openFlags: (v: DataView, at: number) => v.getUint32(at + 4, true),
})

/** fuse_open_out: handle, flags, backing id. 16 bytes. */
export const OpenOut = Object.freeze({
  BYTES: 16,
  write(v: DataView, at: number, handle: number, openFlags: number) {
    writeU64(v, at, handle)
    v.setUint32(at + 8, openFlags, true)
    v.setUint32(at + 12, 0, true)
  },
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  openFlags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_create_in: 16 bytes, then the name. */
export const CreateIn = Object.freeze({
  BYTES: 16,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  mode: (v: DataView, at: number) => v.getUint32(at + 4, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 8, true),
  openFlags: (v: DataView, at: number) => v.getUint32(at + 12, true),
})

/** fuse_release_in: 24 bytes. */
export const ReleaseIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
  releaseFlags: (v: DataView, at: number) => v.getUint32(at + 12, true),
})

/** fuse_flush_in: 24 bytes. */
export const FlushIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  ownerLow: (v: DataView, at: number) => v.getUint32(at + 16, true),
  ownerHigh: (v: DataView, at: number) => v.getUint32(at + 20, true),
})

/** fuse_fsync_in: 16 bytes. */
export const FsyncIn = Object.freeze({
  BYTES: 16,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  fsyncFlags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})
