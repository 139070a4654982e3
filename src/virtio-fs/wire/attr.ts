/** Attributes of inodes: GETATTR, SETATTR, ACCESS. Little endian for every guest (virtio 1). */

import { readRoundedI64, readSafeI64, readSafeU64, writeTimeout } from './numbers.js'
import { Statx, type StatxWords } from './statx.js'

// Module constants are quick. Imported ones would be looked up each time.
const { ATIME, BLKSIZE, BLOCKS, CTIME, GID, INO, MODE, MTIME, NLINK, RDEV_MAJOR, RDEV_MINOR, SIZE, UID } =
  Statx

const ATTR_UID = 17
const ATTR_GID = 18

/** The kernel's 32-bit device number in FUSE: minor bits 0-7 and 20-31, major 8-19. */
function encodeDevice(major: number, minor: number): number {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
}

/** fuse_getattr_in: 16 bytes. */
export const GetattrIn = Object.freeze({
  BYTES: 16,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  handle: (v: DataView, at: number) => readSafeU64(v, at + 8),
})

/** fuse_setattr_in: 88 bytes. */
export const SetattrIn = Object.freeze({
  BYTES: 88,
  valid: (v: DataView, at: number) => v.getUint32(at, true),
  handle: (v: DataView, at: number) => readSafeU64(v, at + 8),
  /** Bytes, or -1 beyond 2^53. */
  sizeBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  /** Seconds; beyond 2^53 the closest Number. */
  atimeSec: (v: DataView, at: number) => readRoundedI64(v, at + 32),
  mtimeSec: (v: DataView, at: number) => readRoundedI64(v, at + 40),
  atimeNsec: (v: DataView, at: number) => v.getUint32(at + 56, true),
  mtimeNsec: (v: DataView, at: number) => v.getUint32(at + 60, true),
  mode: (v: DataView, at: number) => v.getUint32(at + 68, true),
  uid: (v: DataView, at: number) => v.getUint32(at + 76, true),
  gid: (v: DataView, at: number) => v.getUint32(at + 80, true),
})

/** fuse_access_in: 8 bytes. */
export const AccessIn = Object.freeze({
  BYTES: 8,
  mask: (v: DataView, at: number) => v.getUint32(at, true),
})

/** fuse_attr: 88 bytes, 22 words. */
export const Attr = Object.freeze({
  BYTES: 88,
  /** Writes the attributes of `st` from word `w` on. */
  write(words: Int32Array, w: number, st: StatxWords, attrFlags: number) {
    words[w] = st[INO]
    words[w + 1] = st[INO + 1]
    words[w + 2] = st[SIZE]
    words[w + 3] = st[SIZE + 1]
    words[w + 4] = st[BLOCKS]
    words[w + 5] = st[BLOCKS + 1]
    words[w + 6] = st[ATIME]
    words[w + 7] = st[ATIME + 1]
    words[w + 8] = st[MTIME]
    words[w + 9] = st[MTIME + 1]
    words[w + 10] = st[CTIME]
    words[w + 11] = st[CTIME + 1]
    words[w + 12] = st[ATIME + 2]
    words[w + 13] = st[MTIME + 2]
    words[w + 14] = st[CTIME + 2]
    words[w + 15] = st[MODE] & 0xffff
    words[w + 16] = st[NLINK]
    words[w + ATTR_UID] = st[UID]
    words[w + ATTR_GID] = st[GID]
    words[w + 19] = encodeDevice(st[RDEV_MAJOR], st[RDEV_MINOR])
    words[w + 20] = st[BLKSIZE]
    words[w + 21] = attrFlags
  },
  /** Words of a fuse_attr that hold ids. */
  UID_WORD: ATTR_UID,
  GID_WORD: ATTR_GID,
  ino: (v: DataView, at: number) => readSafeU64(v, at),
  sizeBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  /** In units of 512 bytes. */
  blocks: (v: DataView, at: number) => readSafeU64(v, at + 16),
  atimeSec: (v: DataView, at: number) => readSafeI64(v, at + 24),
  mtimeSec: (v: DataView, at: number) => readSafeI64(v, at + 32),
  ctimeSec: (v: DataView, at: number) => readSafeI64(v, at + 40),
  atimeNsec: (v: DataView, at: number) => v.getUint32(at + 48, true),
  mtimeNsec: (v: DataView, at: number) => v.getUint32(at + 52, true),
  ctimeNsec: (v: DataView, at: number) => v.getUint32(at + 56, true),
  mode: (v: DataView, at: number) => v.getUint32(at + 60, true),
  nlink: (v: DataView, at: number) => v.getUint32(at + 64, true),
  uid: (v: DataView, at: number) => v.getUint32(at + 68, true),
  gid: (v: DataView, at: number) => v.getUint32(at + 72, true),
  rdev: (v: DataView, at: number) => v.getUint32(at + 76, true),
  blksize: (v: DataView, at: number) => v.getUint32(at + 80, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 84, true),
})

/** fuse_attr_out: attr_valid, attr_valid_nsec, dummy, fuse_attr. 104 bytes. */
export const AttrOut = Object.freeze({
  BYTES: 104,
  ATTR_AT: 16,
  /** Writes the fields before the fuse_attr. */
  writeHead(words: Int32Array, w: number, attrTimeoutSec: number) {
    writeTimeout(words, w, w + 2, attrTimeoutSec)
    words[w + 3] = 0
  },
  validSec: (v: DataView, at: number) => readSafeU64(v, at),
  validNsec: (v: DataView, at: number) => v.getUint32(at + 8, true),
})
