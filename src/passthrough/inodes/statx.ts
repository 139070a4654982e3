import { Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import { constants, fstatx } from 'virtiofsd-ts-native'

/** Reads the parts of the host's struct statx that a guest does not get, and compares two of them. */

/** The fields that every lookup and getattr requests. */
export const STATX_MASK = constants.STATX_BASIC_STATS | constants.STATX_MNT_ID

const { BLOCKS, CTIME, DEV_MAJOR, DEV_MINOR, INO, MASK, MTIME, SIZE } = Statx
const ATTRIBUTES = 2
const MNT_ID = 36
const STATX_ATTR_AUTOMOUNT = 0x1000

export const statxDevMajor = (st: StatxWords) => st[DEV_MAJOR]
export const statxDevMinor = (st: StatxWords) => st[DEV_MINOR]
/** 0 if the kernel does not tell (before Linux 5.8). Mount ids are small: the lower word is enough. */
export const statxMountId = (st: StatxWords) => ((st[MASK] & constants.STATX_MNT_ID) === 0 ? 0 : st[MNT_ID])

/** Returns true for a directory over which the host mounts a file system when somebody walks into it, except of autofs. */
export const statxMountsItself = (st: StatxWords) => (st[ATTRIBUTES] & STATX_ATTR_AUTOMOUNT) !== 0

/** Returns true if the file occupies no block: it is empty, or one hole. */
export const statxHasNoBlocks = (st: StatxWords) => (st[BLOCKS] | st[BLOCKS + 1]) === 0
export const setStatxBlocks = (st: StatxWords, count: number) => {
  st[BLOCKS] = count
}

/** The bytes of the file's blocks. */
export const statxBytes = (st: StatxWords) => (st[BLOCKS + 1] * 0x1_0000_0000 + (st[BLOCKS] >>> 0)) * 512

/** A text that no other existing file of the host has. */
export const statxIdentity = (st: StatxWords) => `${st[DEV_MAJOR]}:${st[DEV_MINOR]}:${st[INO + 1]}:${st[INO]}`

const S_IFMT = 0o170000
const S_IFDIR = 0o040000

export const statxIsDirectory = (st: StatxWords) => (Statx.mode(st) & S_IFMT) === S_IFDIR

/** Returns true if two existing files are the same. */
export const statxIsSame = (a: StatxWords, b: StatxWords) =>
  a[INO] === b[INO] &&
  a[INO + 1] === b[INO + 1] &&
  a[DEV_MAJOR] === b[DEV_MAJOR] &&
  a[DEV_MINOR] === b[DEV_MINOR]

/** Stats two descriptors. Returns true if they stand for the same file. */
export const statxSameFile = (fd: number, other: number, st: StatxWords, otherSt: StatxWords) =>
  fstatx(other, STATX_MASK, otherSt) === 0 && fstatx(fd, STATX_MASK, st) === 0 && statxIsSame(st, otherSt)

/** Stats a descriptor. Returns true if its file has no name any more. */
export const statxIsNameless = (fd: number, st: StatxWords) =>
  fstatx(fd, STATX_MASK, st) === 0 && Statx.nlink(st) === 0

const NSEC_PER_MS = 1e6
const timeMs = (st: StatxWords, at: number) =>
  (st[at + 1] * 0x1_0000_0000 + (st[at] >>> 0)) * 1000 + st[at + 2] / NSEC_PER_MS

/** Time of the last change of the file or its attributes, in milliseconds since 1970. */
export const statxYoungestMs = (st: StatxWords) => Math.max(timeMs(st, MTIME), timeMs(st, CTIME))

/** Seconds and nanoseconds of mtime and ctime. */
const CHANGE_WORDS = [MTIME, MTIME + 1, MTIME + 2, CTIME, CTIME + 1, CTIME + 2]

/** The times of the last changes of the file and of its attributes, as words. */
export const statxChanges = (st: StatxWords): number[] => CHANGE_WORDS.map((word) => st[word])

/** Returns true if the host's file system may count times in whole seconds. */
export const statxHasWholeSeconds = (st: StatxWords) => st[CTIME + 2] === 0

/** Words of mtime and size, by which a guest notices new contents, then those of ctime. */
const VERSION_WORDS = [MTIME, MTIME + 2, SIZE, SIZE + 1, CTIME, CTIME + 2]
const CONTENTS_WORDS = 4

/** Mixes mtime and size into one 53-bit number, never 0, that differs between two states of a file. */
export const statxContents = (st: StatxWords) => mix(st, CONTENTS_WORDS)

/** The same number with ctime. */
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
