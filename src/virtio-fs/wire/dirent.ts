/** Directory entries. Little endian for every guest (virtio 1). */

import { readSafeU64 } from './numbers.js'

const BYTES = 24

const paddedBytes = (nameBytes: number) => (BYTES + nameBytes + 7) & ~7

/** fuse_dirent: ino, off, namelen, type, name, padded to 8 bytes. 24 bytes and the name. */
export const Dirent = Object.freeze({
  BYTES,
  paddedBytes,
  /** Writes all fields except the name. `off` is the opaque position after the entry, in 32-bit halves. */
  writeHead(
    v: DataView,
    at: number,
    inoLow: number,
    inoHigh: number,
    offLow: number,
    offHigh: number,
    type: number,
    nameBytes: number,
  ) {
    v.setUint32(at, inoLow, true)
    v.setUint32(at + 4, inoHigh, true)
    v.setUint32(at + 8, offLow, true)
    v.setUint32(at + 12, offHigh, true)
    v.setUint32(at + 16, nameBytes, true)
    v.setUint32(at + 20, type, true)
  },
  /** Writes the name and its padding. `at` is the offset of the whole entry in `bytes`. */
  writeName(bytes: Uint8Array, at: number, name: Uint8Array) {
    bytes.set(name, at + BYTES)
    bytes.fill(0, at + BYTES + name.length, at + paddedBytes(name.length))
  },
  ino: (v: DataView, at: number) => readSafeU64(v, at),
  offLow: (v: DataView, at: number) => v.getUint32(at + 8, true),
  offHigh: (v: DataView, at: number) => v.getUint32(at + 12, true),
  nameBytes: (v: DataView, at: number) => v.getUint32(at + 16, true),
  type: (v: DataView, at: number) => v.getUint32(at + 20, true),
})
