/** Requests that make, move and link names. Little endian for every guest (virtio 1). */

import { readSafeU64 } from './numbers.js'

/** fuse_mknod_in: 16 bytes, then the name. */
export const MknodIn = Object.freeze({
  BYTES: 16,
  mode: (v: DataView, at: number) => v.getUint32(at, true),
  rdev: (v: DataView, at: number) => v.getUint32(at + 4, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_mkdir_in: 8 bytes, then the name. */
export const MkdirIn = Object.freeze({
  BYTES: 8,
  mode: (v: DataView, at: number) => v.getUint32(at, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 4, true),
})

/** fuse_rename_in: 8 bytes, then both names. */
export const RenameIn = Object.freeze({
  BYTES: 8,
  newDirectory: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_rename2_in: 16 bytes, then both names. */
export const Rename2In = Object.freeze({
  BYTES: 16,
  newDirectory: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_link_in: 8 bytes, then the name. */
export const LinkIn = Object.freeze({
  BYTES: 8,
  oldNodeid: (v: DataView, at: number) => readSafeU64(v, at),
})
