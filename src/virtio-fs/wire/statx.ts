/** STATX, and the attributes of inodes as struct statx. Little endian for every guest (virtio 1). */

import { readSafeU64, writeTimeout } from './numbers.js'

/**
 * Attributes of an inode as a value: the words of a struct statx (256 bytes), filled by statx(2) and sent as fuse_statx.
 * The caller that fills it passes it to the reply.
 */
export type StatxWords = Int32Array

const WORDS = 64
/** FUSE has no fields after the device numbers. */
const KNOWN_WORDS = 36

const MASK = 0
const NLINK = 4
const UID = 5
const GID = 6
const MODE = 7
const INO = 8
const SIZE = 10

/** Bits of a statx mask. */
export const STATX_BASIC_STATS = 0x7ff
export const STATX_BTIME = 0x800

/** struct statx, 64 words. Word numbers are byte offsets divided by 4. */
export const Statx = Object.freeze({
  WORDS,
  MASK,
  BLKSIZE: 1,
  NLINK,
  UID,
  GID,
  MODE,
  INO,
  SIZE,
  /** In units of 512 bytes. */
  BLOCKS: 12,
  /** Times: two words of seconds, one of nanoseconds. */
  ATIME: 16,
  BTIME: 20,
  CTIME: 24,
  MTIME: 28,
  RDEV_MAJOR: 32,
  RDEV_MINOR: 33,
  DEV_MAJOR: 34,
  DEV_MINOR: 35,
  mode: (st: StatxWords) => st[MODE] & 0xffff,
  nlink: (st: StatxWords) => st[NLINK] >>> 0,
  uid: (st: StatxWords) => st[UID] >>> 0,
  gid: (st: StatxWords) => st[GID] >>> 0,
  inoLow: (st: StatxWords) => st[INO],
  inoHigh: (st: StatxWords) => st[INO + 1],
  sizeBytes: (st: StatxWords) => st[SIZE + 1] * 0x1_0000_0000 + (st[SIZE] >>> 0),
})

/** fuse_statx_in: 24 bytes. */
export const StatxIn = Object.freeze({
  BYTES: 24,
  mask: (v: DataView, at: number) => v.getUint32(at + 20, true),
})

const STATX_AT = 32

/** fuse_statx_out: attr_valid, its nanoseconds, flags, spare[2], fuse_statx (256 bytes, as struct statx). 288 bytes. */
export const StatxOut = Object.freeze({
  BYTES: 288,
  STATX_AT,
  write(words: Int32Array, w: number, attrTimeoutSec: number, st: StatxWords) {
    writeTimeout(words, w, w + 2, attrTimeoutSec)
    words.fill(0, w + 3, w + (STATX_AT >> 2))
    const at = w + (STATX_AT >> 2)
    for (let n = 0; n < KNOWN_WORDS; n++) words[at + n] = st[n]
    words.fill(0, at + KNOWN_WORDS, at + WORDS)
    words[at + MASK] &= STATX_BASIC_STATS | STATX_BTIME
  },
  /** Words of the reply that hold ids. */
  UID_WORD: (STATX_AT >> 2) + UID,
  GID_WORD: (STATX_AT >> 2) + GID,
  validSec: (v: DataView, at: number) => readSafeU64(v, at),
  validNsec: (v: DataView, at: number) => v.getUint32(at + 8, true),
})
