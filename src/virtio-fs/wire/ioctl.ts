/** IOCTL. Little endian for every guest (virtio 1). */

import { readSafeU64 } from './numbers.js'

/** fuse_ioctl_in: 32 bytes, then the input argument. */
export const IoctlIn = Object.freeze({
  BYTES: 32,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
  command: (v: DataView, at: number) => v.getUint32(at + 12, true),
  inBytes: (v: DataView, at: number) => v.getUint32(at + 24, true),
  outBytes: (v: DataView, at: number) => v.getUint32(at + 28, true),
})

/** fuse_ioctl_out: result, flags, counts of iovecs. 16 bytes, then the output argument. */
export const IoctlOut = Object.freeze({
  BYTES: 16,
  write(v: DataView, at: number, result: number) {
    v.setInt32(at, result, true)
    for (let rest = at + 4; rest < at + 16; rest += 4) v.setUint32(rest, 0, true)
  },
  result: (v: DataView, at: number) => v.getInt32(at, true),
})
