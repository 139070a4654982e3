/** FORGET and BATCH_FORGET. Little endian for every guest (virtio 1). */

import { readSafeU64 } from './numbers.js'

/** fuse_forget_in: 8 bytes. */
export const ForgetIn = Object.freeze({
  BYTES: 8,
  nlookup: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_batch_forget_in: 8 bytes, then `count` of fuse_forget_one, 16 bytes each. */
export const BatchForgetIn = Object.freeze({
  BYTES: 8,
  ONE_BYTES: 16,
  count: (v: DataView, at: number) => v.getUint32(at, true),
  nodeid: (v: DataView, at: number, n: number) => readSafeU64(v, at + 8 + 16 * n),
  nlookup: (v: DataView, at: number, n: number) => readSafeU64(v, at + 16 + 16 * n),
})
