import { constants } from 'virtiofsd-ts-native'
import type { Identities } from '../owners/identities.js'

/**
 * struct statx (256 bytes) as statx(2) fills it, read through Int32Array words. Little endian, like every host this
 * runs on. Word numbers are byte offsets divided by 4.
 */
export const STATX_WORDS = 64

/** What every lookup and getattr asks for. */
export const STATX_MASK = constants.STATX_BASIC_STATS | constants.STATX_MNT_ID

const MASK = 0
const BLKSIZE = 1
const NLINK = 4
const UID = 5
const GID = 6
const MODE = 7
const INO = 8
const SIZE = 10
const BLOCKS = 12
const ATIME = 16
const CTIME = 24
const MTIME = 28
const RDEV_MAJOR = 32
const RDEV_MINOR = 33
const DEV_MAJOR = 34
const DEV_MINOR = 35
const MNT_ID = 36

export type StatxWords = Int32Array

export const statxMode = (st: StatxWords) => st[MODE] & 0xffff
export const statxNlink = (st: StatxWords) => st[NLINK] >>> 0
export const statxUid = (st: StatxWords) => st[UID] >>> 0
export const statxGid = (st: StatxWords) => st[GID] >>> 0
export const statxInoLow = (st: StatxWords) => st[INO]
export const statxInoHigh = (st: StatxWords) => st[INO + 1]
export const statxDevMajor = (st: StatxWords) => st[DEV_MAJOR]
export const statxDevMinor = (st: StatxWords) => st[DEV_MINOR]
export const statxSize = (st: StatxWords) => st[SIZE + 1] * 0x1_0000_0000 + (st[SIZE] >>> 0)
/** 0 where the kernel does not tell (before Linux 5.8). Mount ids are small: the lower word names one. */
export const statxMountId = (st: StatxWords) => ((st[MASK] & constants.STATX_MNT_ID) === 0 ? 0 : st[MNT_ID])

/** Whether two files that both exist are one. */
export const statxIsSame = (a: StatxWords, b: StatxWords) =>
  a[INO] === b[INO] &&
  a[INO + 1] === b[INO + 1] &&
  a[DEV_MAJOR] === b[DEV_MAJOR] &&
  a[DEV_MINOR] === b[DEV_MINOR]

const NSEC_PER_MS = 1e6
const timeMs = (st: StatxWords, at: number) =>
  (st[at + 1] * 0x1_0000_0000 + (st[at] >>> 0)) * 1000 + st[at + 2] / NSEC_PER_MS

/** When the file or its attributes changed last, in milliseconds since 1970. */
export const statxYoungestMs = (st: StatxWords) => Math.max(timeMs(st, MTIME), timeMs(st, CTIME))

/** Words of mtime and size, by which a guest sees that contents have changed; behind them those of ctime. */
const VERSION_WORDS = [MTIME, MTIME + 2, SIZE, SIZE + 1, CTIME, CTIME + 2]
const CONTENTS_WORDS = 4

/** Mixes mtime and size into one number that two states of a file will not share: 53 bits, never 0. */
export const statxContents = (st: StatxWords) => mix(st, CONTENTS_WORDS)

/** The same with ctime. */
export const statxVersion = (st: StatxWords) => mix(st, VERSION_WORDS.length)

function mix(st: StatxWords, count: number): number {
  let a = 0x9e3779b1
  let b = 0x85ebca6b
  for (let n = 0; n < count; n++) {
    const word = st[VERSION_WORDS[n]]
    a = Math.imul(a ^ word, 0x2c1b3c6d)
    a ^= a >>> 15
    b = Math.imul(((b << 13) | (b >>> 19)) ^ word, 0x297a2d39)
  }
  return (a >>> 0) * 0x20_0000 + ((b ^ (b >>> 16)) & 0x1f_ffff) + 1
}

/** The kernel's 32-bit device number, as FUSE has it: minor bits 0-7 and 20-31, major 8-19. */
function encodeDevice(major: number, minor: number): number {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
}

/** fuse_statx: struct statx up to the device numbers; behind them FUSE has nothing. */
const STATX_KNOWN_WORDS = 36
const FUSE_STATX_WORDS = 64

/** Writes the fuse_statx (256 bytes) that says what `st` says, from word `at` of `out` on. */
export function writeStatx(st: StatxWords, out: Int32Array, at: number, identities: Identities): void {
  for (let n = 0; n < STATX_KNOWN_WORDS; n++) out[at + n] = st[n]
  out.fill(0, at + STATX_KNOWN_WORDS, at + FUSE_STATX_WORDS)
  out[at + MASK] &= constants.STATX_BASIC_STATS | constants.STATX_BTIME
  if (!identities.differ) return
  out[at + UID] = identities.guestUid(st)
  out[at + GID] = identities.guestGid(st)
}

/** Writes the fuse_attr (88 bytes, 22 words) that says what `st` says, from word `at` of `out` on. */
export function writeAttr(st: StatxWords, out: Int32Array, at: number, attrFlags: number): void {
  out[at] = st[INO]
  out[at + 1] = st[INO + 1]
  out[at + 2] = st[SIZE]
  out[at + 3] = st[SIZE + 1]
  out[at + 4] = st[BLOCKS]
  out[at + 5] = st[BLOCKS + 1]
  out[at + 6] = st[ATIME]
  out[at + 7] = st[ATIME + 1]
  out[at + 8] = st[MTIME]
  out[at + 9] = st[MTIME + 1]
  out[at + 10] = st[CTIME]
  out[at + 11] = st[CTIME + 1]
  out[at + 12] = st[ATIME + 2]
  out[at + 13] = st[MTIME + 2]
  out[at + 14] = st[CTIME + 2]
  out[at + 15] = st[MODE] & 0xffff
  out[at + 16] = st[NLINK]
  out[at + 17] = st[UID]
  out[at + 18] = st[GID]
  out[at + 19] = encodeDevice(st[RDEV_MAJOR], st[RDEV_MINOR])
  out[at + 20] = st[BLKSIZE]
  out[at + 21] = attrFlags
}
