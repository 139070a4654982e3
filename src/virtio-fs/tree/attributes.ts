import { STATX_BASIC_STATS, STATX_BTIME, Statx, type StatxWords } from '../wire/statx.js'
import type { Attributes, FsNode, NodeType } from './node.js'

const {
  ATIME,
  BLKSIZE,
  BLOCKS,
  BTIME,
  CTIME,
  GID,
  INO,
  MASK,
  MODE,
  MTIME,
  NLINK,
  RDEV_MAJOR,
  RDEV_MINOR,
  SIZE,
  UID,
} = Statx

const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const S_IFLNK = 0o120000
const PERMISSIONS = 0o7777

const typeBits: Readonly<Record<NodeType, number>> = {
  fifo: 0o010000,
  'character-device': 0o020000,
  directory: S_IFDIR,
  'block-device': 0o060000,
  file: 0o100000,
  symlink: S_IFLNK,
  socket: 0o140000,
}

const WORD = 0x1_0000_0000
const NSEC_PER_SEC = 1_000_000_000
const BLOCK_BYTES = 512
const DEFAULT_BLKSIZE = 4096
/** Characters of a wrong string in a message. */
const MAX_SHOWN = 40

/** S_IFMT bits >> 12, the type in a directory entry. */
export function typeNumber(type: NodeType | undefined): number {
  return type === undefined
    ? 0
    : (typeBits[type] ?? wrong('type', type, Object.keys(typeBits).join(', '))) >>> 12
}

/**
 * Writes a method's attributes to struct statx. `ino` is the inode number if the method gave none. Throws TypeError for
 * invalid attributes.
 */
export function writeStatx(st: StatxWords, said: Attributes, node: FsNode, ino: number): void {
  if (typeof said !== 'object' || said === null) wrong('attributes', said, 'an object')
  const mode = modeOf(said, node)
  const sizeBytes = said.size === undefined ? 0 : count('size', said.size)
  st[MASK] = STATX_BASIC_STATS
  st[BLKSIZE] = said.blksize === undefined ? DEFAULT_BLKSIZE : word('blksize', said.blksize)
  st[NLINK] = said.nlink === undefined ? ((mode & S_IFMT) === S_IFDIR ? 2 : 1) : word('nlink', said.nlink)
  st[UID] = said.uid === undefined ? 0 : word('uid', said.uid)
  st[GID] = said.gid === undefined ? 0 : word('gid', said.gid)
  st[MODE] = mode
  putInode(st, said.ino, ino)
  put(st, SIZE, sizeBytes)
  put(
    st,
    BLOCKS,
    said.blocks === undefined ? Math.ceil(sizeBytes / BLOCK_BYTES) : count('blocks', said.blocks),
  )
  putRdev(st, said.rdev)
  putTimes(st, said)
}

function modeOf(said: Attributes, node: FsNode): number {
  const mode = said.mode === undefined ? -1 : word('mode', said.mode)
  if (mode > 0xffff) wrong('mode', mode, 'a mode')
  const own = mode < 0 ? 0 : mode & S_IFMT
  const type = said.type === undefined ? own || typeBits[typeOf(node)] : typeBits[said.type]
  if (type === undefined) wrong('type', said.type, Object.keys(typeBits).join(', '))
  if (mode >= 0) return type | (mode & PERMISSIONS)
  return type | (type === S_IFDIR ? 0o755 : type === S_IFLNK ? 0o777 : 0o644)
}

/** The type that follows from the node's methods. */
function typeOf(node: FsNode): NodeType {
  if (node.readlink !== undefined) return 'symlink'
  return node.lookup !== undefined || node.readdir !== undefined ? 'directory' : 'file'
}

function putInode(st: StatxWords, said: number | bigint | undefined, ino: number): void {
  if (typeof said === 'bigint') {
    st[INO] = Number(BigInt.asIntN(32, said))
    st[INO + 1] = Number(BigInt.asIntN(32, said >> 32n))
  } else {
    put(st, INO, said === undefined ? ino : count('ino', said))
  }
}

/** Splits a user-space device number into its two halves. */
function putRdev(st: StatxWords, said: number | bigint | undefined): void {
  const rdev = said === undefined ? 0 : count('rdev', said)
  const high = Math.floor(rdev / WORD)
  st[RDEV_MAJOR] = ((rdev >>> 8) & 0xfff) | (high & 0xfffff000)
  st[RDEV_MINOR] = (rdev & 0xff) | ((rdev >>> 12) & 0xffffff00)
}

function putTimes(st: StatxWords, said: Attributes): void {
  putTime(st, MTIME, said.mtimeNs, said.mtimeMs, said.mtime, 'mtime', -1)
  putTime(st, ATIME, said.atimeNs, said.atimeMs, said.atime, 'atime', MTIME)
  putTime(st, CTIME, said.ctimeNs, said.ctimeMs, said.ctime, 'ctime', MTIME)
  const { birthtimeNs, birthtimeMs, birthtime } = said
  if (birthtimeNs === undefined && birthtimeMs === undefined && birthtime === undefined) return
  putTime(st, BTIME, birthtimeNs, birthtimeMs, birthtime, 'birthtime', MTIME)
  st[MASK] |= STATX_BTIME
}

/** `otherwise`: the word of the time that replaces a missing one, or -1 for 1970. */
function putTime(
  st: StatxWords,
  at: number,
  ns: bigint | undefined,
  ms: number | bigint | undefined,
  date: Date | undefined,
  name: string,
  otherwise: number,
): void {
  if (ns !== undefined) {
    if (typeof ns !== 'bigint') wrong(`${name}Ns`, ns, 'a bigint')
    const nsec = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    putSigned(st, at, Number((ns - nsec) / 1_000_000_000n))
    st[at + 2] = Number(nsec)
  } else if (ms !== undefined || date !== undefined) {
    const atMs = ms === undefined ? dateMs(name, date) : Number(ms)
    if (!Number.isFinite(atMs)) wrong(`${name}Ms`, atMs, 'milliseconds since 1970')
    const sec = Math.floor(atMs / 1000)
    putSigned(st, at, sec)
    st[at + 2] = Math.min(Math.round((atMs - sec * 1000) * 1e6), NSEC_PER_SEC - 1)
  } else {
    for (let n = 0; n < 3; n++) st[at + n] = otherwise < 0 ? 0 : (st[otherwise + n] as number)
  }
}

function dateMs(name: string, date: unknown): number {
  return date instanceof Date ? date.getTime() : wrong(name, date, 'a Date')
}

function put(st: StatxWords, at: number, value: number): void {
  st[at] = value % WORD
  st[at + 1] = Math.floor(value / WORD)
}

function putSigned(st: StatxWords, at: number, value: number): void {
  const high = Math.floor(value / WORD)
  st[at] = value - high * WORD
  st[at + 1] = high
}

/** A non-negative safe integer. */
function count(name: string, value: unknown): number {
  const number = typeof value === 'bigint' ? Number(value) : value
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number
  return wrong(name, value, 'a whole number from 0 to 2^53')
}

/** A non-negative integer of 32 bits. */
function word(name: string, value: unknown): number {
  const number = count(name, value)
  return number < WORD ? number : wrong(name, value, 'a whole number below 2^32')
}

/** A time-out in seconds, or `otherwise`. Throws TypeError for an invalid one. */
export function timeoutSec(name: string, said: unknown, otherwise: number): number {
  if (said === undefined) return otherwise
  if (typeof said === 'number' && said >= 0 && said < WORD) return said
  return wrong(name, said, 'a number of seconds from 0 on')
}

/** A method's result that must be a list. Throws TypeError for anything else, a string included. */
export function listed<T>(said: Iterable<T>): Iterable<T> {
  if (typeof said !== 'object' || said === null || typeof said[Symbol.iterator] !== 'function')
    wrong('the answer', said, 'a list')
  return said
}

/** Throws TypeError with the wrong value and the expected one. */
export function wrong(name: string, value: unknown, wanted: string): never {
  throw new TypeError(`${name} is ${shownValue(value)}, not ${wanted}`)
}

/** A value in a few words. A string has quotes, because "12" is not 12. */
function shownValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, MAX_SHOWN))
  if (typeof value === 'function') return 'a function'
  return typeof value === 'object' ? Object.prototype.toString.call(value) : String(value)
}
