import { constants } from 'virtiofsd-ts-native'

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
export const statxUid = (st: StatxWords) => st[UID] >>> 0
export const statxGid = (st: StatxWords) => st[GID] >>> 0
export const statxInoLow = (st: StatxWords) => st[INO]
export const statxInoHigh = (st: StatxWords) => st[INO + 1]
export const statxDevMajor = (st: StatxWords) => st[DEV_MAJOR]
export const statxDevMinor = (st: StatxWords) => st[DEV_MINOR]
/** 0 where the kernel does not tell (before Linux 5.8). Mount ids are small: the lower word names one. */
export const statxMountId = (st: StatxWords) => ((st[MASK] & constants.STATX_MNT_ID) === 0 ? 0 : st[MNT_ID])

/** The kernel's 32-bit device number, as FUSE has it: minor bits 0-7 and 20-31, major 8-19. */
function encodeDevice(major: number, minor: number): number {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
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
