import { LentBytes } from '../basics/lent-bytes.js'
import { damaged } from './blocks.js'
import { eachRecord } from './sections.js'

/** Section INOD: the inodes that the guest knows, in any order. */
export const INODES = { tag: 'INOD', version: 1, isRequired: true } as const
/** Section IGEN: generations of free slots, so that no node id is used twice. */
export const FREE_INODES = { tag: 'IGEN', version: 1, isRequired: true } as const

/** The longest path below the shared directory. */
export const PATH_MAX_BYTES = 4096
/** A file handle: its type in 32 bits, then its bytes. */
export const HANDLE_MAX_BYTES = 132

/** An inode of the guest. Reused for each record. */
export interface InodeRecord {
  /** S_IFMT bits >> 12. */
  type: number
  slot: number
  generation: number
  lookups: number
  /** The source's own number for the host's file system; both ends of the other places are on it. */
  device: number
  inoLow: number
  inoHigh: number
  /** The guest has it open. */
  isOpen: boolean
  /** It was lost before, so nothing about its file is known. */
  isLost: boolean
  /** The source knew it by its handle alone: it would have noticed only later that the file is gone. */
  rests: boolean
  /** Its descriptor comes along: one process hands everything to another. */
  hasFd: boolean
  /** The host has given its number to another file: only its node id finds it. */
  isDisowned: boolean
  /** Bytes of the path below the shared directory, or undefined without a name there. */
  path: Uint8Array | undefined
  /** The host's file handle, or undefined if it has none or was not asked. */
  handle: Uint8Array | undefined
}

/** Returns a record to fill. */
export function blankInode(): InodeRecord {
  return {
    type: 0,
    slot: 0,
    generation: 0,
    lookups: 0,
    device: 0,
    inoLow: 0,
    inoHigh: 0,
    isOpen: false,
    isLost: false,
    rests: false,
    hasFd: false,
    isDisowned: false,
    path: undefined,
    handle: undefined,
  }
}

const NOTHING: Uint8Array = new Uint8Array(0)
/** Instead of the bytes of a path: there is no path. */
const NONE = -1

/** u16 length; u8 type; u8 flags; u32 slot, generation; f64 lookups; u32 device, ino; u16 shared, path, handle bytes. */
const HEAD_BYTES = 40
const HAS_PATH = 1
const HAS_HANDLE = 2
const IS_OPEN = 4
const IS_LOST = 8
const HAS_FD = 16
const IS_DISOWNED = 32
const RESTS = 64

/** The longest record. */
export const RECORD_MAX_BYTES = HEAD_BYTES + PATH_MAX_BYTES + HANDLE_MAX_BYTES

/** Writes inode records. Each path is written as what it does not share with the path before it. */
export class InodeEncoder {
  private readonly bytes = new Uint8Array(RECORD_MAX_BYTES)
  private readonly view = new DataView(this.bytes.buffer)
  private readonly lastPath = new Uint8Array(PATH_MAX_BYTES)
  private lastPathBytes = 0

  /** The result is valid until the next call. */
  encode(record: InodeRecord): Uint8Array {
    const lenBytes = this.write(this.view, 0, record, record.path ?? NOTHING, record.path?.length ?? NONE)
    return this.bytes.subarray(0, lenBytes)
  }

  /**
   * Writes a record to `out` from `at` on. Its path is the first bytes of `path`, or NONE if `pathBytes` is. Returns the
   * bytes of the record.
   */
  write(out: DataView, at: number, record: InodeRecord, path: Uint8Array, pathBytes: number): number {
    const { lastPath } = this
    const handle = record.handle ?? NOTHING
    const hasPath = pathBytes !== NONE
    let shared = 0
    if (hasPath) {
      const most = Math.min(pathBytes, this.lastPathBytes)
      while (shared < most && path[shared] === lastPath[shared]) shared++
    }
    const restBytes = hasPath ? pathBytes - shared : 0
    const handleBytes = handle.length
    const lenBytes = HEAD_BYTES + restBytes + handleBytes
    out.setUint16(at, lenBytes, true)
    out.setUint8(at + 2, record.type)
    out.setUint8(
      at + 3,
      (hasPath ? HAS_PATH : 0) |
        (record.handle === undefined ? 0 : HAS_HANDLE) |
        (record.isOpen ? IS_OPEN : 0) |
        (record.isLost ? IS_LOST : 0) |
        (record.hasFd ? HAS_FD : 0) |
        (record.isDisowned ? IS_DISOWNED : 0) |
        (record.rests ? RESTS : 0),
    )
    out.setUint32(at + 4, record.slot, true)
    out.setUint32(at + 8, record.generation, true)
    out.setFloat64(at + 12, record.lookups, true)
    out.setUint32(at + 20, record.device, true)
    out.setUint32(at + 24, record.inoLow, true)
    out.setUint32(at + 28, record.inoHigh, true)
    out.setUint16(at + 32, shared, true)
    out.setUint16(at + 34, restBytes, true)
    out.setUint16(at + 36, handleBytes, true)
    out.setUint16(at + 38, 0, true)
    const restAt = at + HEAD_BYTES
    for (let n = 0; n < restBytes; n++) {
      out.setUint8(restAt + n, path[shared + n])
      lastPath[shared + n] = path[shared + n]
    }
    for (let n = 0; n < handleBytes; n++) out.setUint8(restAt + restBytes + n, handle[n])
    if (hasPath) this.lastPathBytes = pathBytes
    return lenBytes
  }
}

/** Reads what InodeEncoder wrote. Throws StateError for numbers that no share has. */
export class InodeDecoder {
  /** The path of the last record that has one: each is written over the one before. */
  private readonly path = new LentBytes(PATH_MAX_BYTES)
  private lastPathBytes = 0
  private readonly record = blankInode()
  private readonly handle = new LentBytes(HANDLE_MAX_BYTES)

  /** Calls `take` with each record of a block, which is valid until it returns. */
  decode(contents: Uint8Array, take: (record: InodeRecord) => void): void {
    eachRecord(contents, HEAD_BYTES, (view, at, lenBytes) => take(this.read(contents, view, at, lenBytes)))
  }

  private read(contents: Uint8Array, v: DataView, at: number, lenBytes: number): InodeRecord {
    const { record } = this
    const flags = v.getUint8(at + 3)
    const shared = v.getUint16(at + 32, true)
    const restBytes = v.getUint16(at + 34, true)
    const handleBytes = v.getUint16(at + 36, true)
    record.type = v.getUint8(at + 2)
    record.slot = v.getUint32(at + 4, true)
    record.generation = v.getUint32(at + 8, true)
    record.lookups = v.getFloat64(at + 12, true)
    record.device = v.getUint32(at + 20, true)
    record.inoLow = v.getInt32(at + 24, true)
    record.inoHigh = v.getInt32(at + 28, true)
    record.isOpen = (flags & IS_OPEN) !== 0
    record.isLost = (flags & IS_LOST) !== 0
    record.hasFd = (flags & HAS_FD) !== 0
    record.isDisowned = (flags & IS_DISOWNED) !== 0
    record.rests = (flags & RESTS) !== 0
    const pathAt = at + HEAD_BYTES
    if (HEAD_BYTES + restBytes + handleBytes > lenBytes) throw damaged('an inode is cut')
    if (shared > this.lastPathBytes || shared + restBytes > PATH_MAX_BYTES || handleBytes > HANDLE_MAX_BYTES)
      throw damaged('an inode has an impossible length')
    if (!Number.isSafeInteger(record.lookups) || record.lookups < 1 || record.slot === 0)
      throw damaged('an inode has an impossible number')
    record.path = (flags & HAS_PATH) === 0 ? undefined : this.pathOf(contents, pathAt, shared, restBytes)
    const handleAt = pathAt + restBytes
    record.handle = (flags & HAS_HANDLE) === 0 ? undefined : this.handleOf(contents, handleAt, handleBytes)
    return record
  }

  private pathOf(contents: Uint8Array, at: number, shared: number, restBytes: number): Uint8Array {
    const { bytes } = this.path
    for (let n = 0; n < restBytes; n++) {
      const byte = contents[at + n]
      if (byte === 0) throw damaged('a path contains a NUL')
      bytes[shared + n] = byte
    }
    this.lastPathBytes = shared + restBytes
    return this.path.first(this.lastPathBytes)
  }

  private handleOf(contents: Uint8Array, at: number, lenBytes: number): Uint8Array {
    const { bytes } = this.handle
    for (let n = 0; n < lenBytes; n++) bytes[n] = contents[at + n]
    return this.handle.first(lenBytes)
  }
}
