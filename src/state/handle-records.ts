import { damaged } from './blocks.js'
import { eachRecord } from './sections.js'

/** Section FILE: the guest's open files. */
export const FILES = { tag: 'FILE', version: 1, isRequired: true } as const
/** Section DIRS: its open directories. */
export const DIRECTORIES = { tag: 'DIRS', version: 1, isRequired: true } as const
/** Sections FGEN and DGEN: generations of free slots of both tables. */
export const FREE_FILES = { tag: 'FGEN', version: 1, isRequired: true } as const
export const FREE_DIRECTORIES = { tag: 'DGEN', version: 1, isRequired: true } as const
/** Section LOCK: record locks. */
export const LOCKS = { tag: 'LOCK', version: 1, isRequired: true } as const

/** flock(2) of an open file. */
export const Flock = Object.freeze({ none: 0, shared: 1, exclusive: 2 })

/** An open file of the guest: its handle, its inode, and how it is open. */
export interface FileRecord {
  readonly slot: number
  readonly generation: number
  readonly inodeSlot: number
  readonly inodeGeneration: number
  /** O_* flags of the host's descriptor. */
  readonly hostFlags: number
  /** The FOPEN flags that the guest got. */
  readonly openFlags: number
  readonly hasDirect: boolean
  readonly isWritable: boolean
  readonly isAppendOnly: boolean
  readonly writesPages: boolean
  /** One of Flock. */
  readonly flock: number
}

/** u16 length; u8 flags; u8 flock; u32 slot, generation, inode slot, its generation, host flags, FOPEN flags. */
const FILE_BYTES = 28
const DIRECT = 1
const WRITABLE = 2
const APPEND_ONLY = 4
const WRITES_PAGES = 8

export const FileRecords = Object.freeze({
  encode(file: FileRecord): Uint8Array {
    const v = new DataView(new ArrayBuffer(FILE_BYTES))
    v.setUint16(0, FILE_BYTES, true)
    v.setUint8(
      2,
      (file.hasDirect ? DIRECT : 0) |
        (file.isWritable ? WRITABLE : 0) |
        (file.isAppendOnly ? APPEND_ONLY : 0) |
        (file.writesPages ? WRITES_PAGES : 0),
    )
    v.setUint8(3, file.flock)
    v.setUint32(4, file.slot, true)
    v.setUint32(8, file.generation, true)
    v.setUint32(12, file.inodeSlot, true)
    v.setUint32(16, file.inodeGeneration, true)
    v.setUint32(20, file.hostFlags, true)
    v.setUint32(24, file.openFlags, true)
    return new Uint8Array(v.buffer)
  },

  decode(contents: Uint8Array, take: (file: FileRecord) => void): void {
    eachRecord(contents, FILE_BYTES, (v, at) => {
      const flags = v.getUint8(at + 2)
      const flock = v.getUint8(at + 3)
      if (flock > Flock.exclusive) throw damaged('a flock of no kind')
      take({
        slot: v.getUint32(at + 4, true),
        generation: v.getUint32(at + 8, true),
        inodeSlot: v.getUint32(at + 12, true),
        inodeGeneration: v.getUint32(at + 16, true),
        hostFlags: v.getInt32(at + 20, true),
        openFlags: v.getUint32(at + 24, true),
        hasDirect: (flags & DIRECT) !== 0,
        isWritable: (flags & WRITABLE) !== 0,
        isAppendOnly: (flags & APPEND_ONLY) !== 0,
        writesPages: (flags & WRITES_PAGES) !== 0,
        flock,
      })
    })
  },
})

/** An open directory, and the position after the last entry that the guest got, in 32-bit halves. */
export interface DirectoryRecord {
  readonly slot: number
  readonly generation: number
  readonly inodeSlot: number
  readonly inodeGeneration: number
  readonly atLow: number
  readonly atHigh: number
}

/** u16 length, u16 padding; u32 slot, generation, inode slot, its generation, position. */
const DIRECTORY_BYTES = 28

export const DirectoryRecords = Object.freeze({
  encode(directory: DirectoryRecord): Uint8Array {
    const { slot, generation, inodeSlot, inodeGeneration, atLow, atHigh } = directory
    const bytes = new Uint8Array(DIRECTORY_BYTES)
    const v = new DataView(bytes.buffer)
    v.setUint16(0, DIRECTORY_BYTES, true)
    ;[slot, generation, inodeSlot, inodeGeneration, atLow, atHigh].forEach((word, n) => {
      v.setUint32(4 + 4 * n, word, true)
    })
    return bytes
  },

  decode(contents: Uint8Array, take: (directory: DirectoryRecord) => void): void {
    eachRecord(contents, DIRECTORY_BYTES, (v, at) =>
      take({
        slot: v.getUint32(at + 4, true),
        generation: v.getUint32(at + 8, true),
        inodeSlot: v.getUint32(at + 12, true),
        inodeGeneration: v.getUint32(at + 16, true),
        atLow: v.getUint32(at + 20, true),
        atHigh: v.getUint32(at + 24, true),
      }),
    )
  },
})

/** A record lock: POSIX locks and OFD locks differ only in their owner, which the guest's kernel names. */
export interface LockRecord {
  /** The handle through which it was taken. */
  readonly fileSlot: number
  readonly fileGeneration: number
  readonly isWrite: boolean
  readonly ownerLow: number
  readonly ownerHigh: number
  readonly pid: number
  readonly startByte: number
  /** 2^53 - 1 for a lock without an end. */
  readonly lastByte: number
}

/** u16 length; u8 type; u8 padding; u32 handle's slot and generation, owner, pid; f64 start, last. */
const LOCK_BYTES = 40

export const LockRecords = Object.freeze({
  encode(lock: LockRecord): Uint8Array {
    const bytes = new Uint8Array(LOCK_BYTES)
    const v = new DataView(bytes.buffer)
    v.setUint16(0, LOCK_BYTES, true)
    v.setUint8(2, lock.isWrite ? 1 : 0)
    v.setUint32(4, lock.fileSlot, true)
    v.setUint32(8, lock.fileGeneration, true)
    v.setUint32(12, lock.ownerLow, true)
    v.setUint32(16, lock.ownerHigh, true)
    v.setUint32(20, lock.pid, true)
    v.setFloat64(24, lock.startByte, true)
    v.setFloat64(32, lock.lastByte, true)
    return bytes
  },

  decode(contents: Uint8Array, take: (lock: LockRecord) => void): void {
    eachRecord(contents, LOCK_BYTES, (v, at) => {
      const startByte = v.getFloat64(at + 24, true)
      const lastByte = v.getFloat64(at + 32, true)
      if (
        !Number.isSafeInteger(startByte) ||
        !Number.isSafeInteger(lastByte) ||
        startByte < 0 ||
        lastByte < startByte
      )
        throw damaged('a lock has an impossible range')
      take({
        isWrite: v.getUint8(at + 2) === 1,
        fileSlot: v.getUint32(at + 4, true),
        fileGeneration: v.getUint32(at + 8, true),
        ownerLow: v.getUint32(at + 12, true),
        ownerHigh: v.getUint32(at + 16, true),
        pid: v.getUint32(at + 20, true),
        startByte,
        lastByte,
      })
    })
  },
})

/** Section CARR: the open files that carry the record locks of an inode on the host. */
export const CARRIERS = { tag: 'CARR', version: 1, isRequired: true } as const

/** A handle that carries locks; slot 0: the guest has released it, and its descriptor comes along. */
export interface Carrier {
  readonly slot: number
  readonly generation: number
}

/** The files through which an inode's locks are held on the host; undefined: there are none of the kind. */
export interface CarrierRecord {
  readonly inodeSlot: number
  readonly inodeGeneration: number
  readonly reader: Carrier | undefined
  /** Both are the same file. */
  readonly isOne: boolean
  readonly writer: Carrier | undefined
}

/** u16 length; u8 flags; u8 padding; u32 inode slot, its generation, reader's slot and generation, writer's. */
const CARRIER_BYTES = 28
const HAS_READER = 1
const HAS_WRITER = 2
const IS_ONE = 4

export const CarrierRecords = Object.freeze({
  encode({ inodeSlot, inodeGeneration, reader, isOne, writer }: CarrierRecord): Uint8Array {
    const bytes = new Uint8Array(CARRIER_BYTES)
    const v = new DataView(bytes.buffer)
    v.setUint16(0, CARRIER_BYTES, true)
    v.setUint8(
      2,
      (reader === undefined ? 0 : HAS_READER) |
        (writer === undefined ? 0 : HAS_WRITER) |
        (isOne ? IS_ONE : 0),
    )
    v.setUint32(4, inodeSlot, true)
    v.setUint32(8, inodeGeneration, true)
    v.setUint32(12, reader?.slot ?? 0, true)
    v.setUint32(16, reader?.generation ?? 0, true)
    v.setUint32(20, writer?.slot ?? 0, true)
    v.setUint32(24, writer?.generation ?? 0, true)
    return bytes
  },

  decode(contents: Uint8Array, take: (carrier: CarrierRecord) => void): void {
    eachRecord(contents, CARRIER_BYTES, (v, at) => {
      const flags = v.getUint8(at + 2)
      const carrierAt = (from: number) => ({
        slot: v.getUint32(from, true),
        generation: v.getUint32(from + 4, true),
      })
      take({
        inodeSlot: v.getUint32(at + 4, true),
        inodeGeneration: v.getUint32(at + 8, true),
        reader: (flags & HAS_READER) === 0 ? undefined : carrierAt(at + 12),
        isOne: (flags & IS_ONE) !== 0,
        writer: (flags & HAS_WRITER) === 0 ? undefined : carrierAt(at + 20),
      })
    })
  },
})

/** A slot that is free now, with the generation that its next id gets. */
export interface FreeSlot {
  readonly slot: number
  readonly generation: number
}

/** u16 length, u16 padding, u32 slot, u32 generation. */
const FREE_BYTES = 12

export const FreeSlotRecords = Object.freeze({
  encode({ slot, generation }: FreeSlot): Uint8Array {
    const bytes = new Uint8Array(FREE_BYTES)
    const v = new DataView(bytes.buffer)
    v.setUint16(0, FREE_BYTES, true)
    v.setUint32(4, slot, true)
    v.setUint32(8, generation, true)
    return bytes
  },

  decode(contents: Uint8Array, take: (free: FreeSlot) => void): void {
    eachRecord(contents, FREE_BYTES, (v, at) =>
      take({ slot: v.getUint32(at + 4, true), generation: v.getUint32(at + 8, true) }),
    )
  },
})
