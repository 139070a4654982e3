import { strict as assert } from 'node:assert'

/** Structs of the FUSE protocol, encoded and decoded as in a guest kernel, without any code of src/virtio-fs. */
export type Id = number | bigint

const SEC_NS = 1_000_000_000n

export function u32(...values: number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length))
  values.forEach((value, n) => {
    view.setUint32(4 * n, value, true)
  })
  return new Uint8Array(view.buffer)
}

/** Negative values as two's complement. */
export function u64(...values: Id[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * values.length))
  values.forEach((value, n) => {
    view.setBigUint64(8 * n, BigInt.asUintN(64, BigInt(value)), true)
  })
  return new Uint8Array(view.buffer)
}

export function cstring(text: string | Uint8Array): Uint8Array {
  return concat(typeof text === 'string' ? Buffer.from(text) : text, Uint8Array.of(0))
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

/** Reads fields from the front of `bytes`. */
export class Reader {
  at = 0
  private readonly view: DataView

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get leftBytes(): number {
    return this.bytes.length - this.at
  }

  u16(): number {
    return this.view.getUint16(this.step(2), true)
  }

  u32(): number {
    return this.view.getUint32(this.step(4), true)
  }

  i32(): number {
    return this.view.getInt32(this.step(4), true)
  }

  u64(): bigint {
    return this.view.getBigUint64(this.step(8), true)
  }

  i64(): bigint {
    return this.view.getBigInt64(this.step(8), true)
  }

  take(lenBytes: number): Uint8Array {
    const at = this.step(lenBytes)
    return this.bytes.subarray(at, at + lenBytes)
  }

  private step(lenBytes: number): number {
    const { at } = this
    assert.ok(at + lenBytes <= this.bytes.length, `a reply of ${this.bytes.length} bytes is too short`)
    this.at += lenBytes
    return at
  }
}

/** fuse_attr; times in nanoseconds since 1970. */
export interface Attr {
  ino: bigint
  size: bigint
  blocks: bigint
  atimeNs: bigint
  mtimeNs: bigint
  ctimeNs: bigint
  mode: number
  nlink: number
  uid: number
  gid: number
  rdev: number
  blksize: number
  flags: number
}

export function readAttr(r: Reader): Attr {
  const [ino, size, blocks] = [r.u64(), r.u64(), r.u64()]
  const seconds = [r.i64(), r.i64(), r.i64()]
  const [atimeNs, mtimeNs, ctimeNs] = seconds.map((sec) => sec * SEC_NS + BigInt(r.u32()))
  const [mode, nlink, uid, gid] = [r.u32(), r.u32(), r.u32(), r.u32()]
  const [rdev, blksize, flags] = [r.u32(), r.u32(), r.u32()]
  return { ino, size, blocks, atimeNs, mtimeNs, ctimeNs, mode, nlink, uid, gid, rdev, blksize, flags }
}

/** fuse_attr_out. */
export interface AttrReply {
  validNs: bigint
  attr: Attr
}

export function readAttrReply(r: Reader): AttrReply {
  const validNs = r.u64() * SEC_NS + BigInt(r.u32())
  assert.equal(r.u32(), 0, 'attr_out.dummy')
  return { validNs, attr: readAttr(r) }
}

/** fuse_entry_out. */
export interface Entry {
  nodeid: bigint
  generation: bigint
  entryValidNs: bigint
  attrValidNs: bigint
  attr: Attr
}

export const ENTRY_BYTES = 128

export function readEntry(r: Reader): Entry {
  const [nodeid, generation, entrySec, attrSec] = [r.u64(), r.u64(), r.u64(), r.u64()]
  const entryValidNs = entrySec * SEC_NS + BigInt(r.u32())
  const attrValidNs = attrSec * SEC_NS + BigInt(r.u32())
  return { nodeid, generation, entryValidNs, attrValidNs, attr: readAttr(r) }
}

/** fuse_open_out. */
export interface Opened {
  handle: bigint
  flags: number
}

export function readOpened(r: Reader): Opened {
  const opened = { handle: r.u64(), flags: r.u32() }
  assert.equal(r.u32(), 0, 'open_out.backing_id')
  return opened
}

/** fuse_dirent, in READDIRPLUS with the entry before it. */
export interface Dirent {
  ino: bigint
  /** The position behind it. */
  off: bigint
  type: number
  name: string
  entry?: Entry
}

const DIRENT_BYTES = 24
const align8 = (bytes: number) => (bytes + 7) & ~7

/** Parses a listing. Refuses what Linux refuses: names that are empty, too long or contain a slash. */
export function readDirents(bytes: Uint8Array, plus: boolean): Dirent[] {
  const r = new Reader(bytes)
  const dirents: Dirent[] = []
  while (r.leftBytes > 0) {
    const entry = plus ? readEntry(r) : undefined
    const [ino, off, nameBytes, type] = [r.u64(), r.u64(), r.u32(), r.u32()]
    assert.ok(nameBytes > 0 && nameBytes <= 1024, `a name of ${nameBytes} bytes`)
    const name = Buffer.from(r.take(nameBytes)).toString()
    assert.ok(!name.includes('/') && !name.includes('\0'), `the name ${JSON.stringify(name)}`)
    const padding = r.take(align8(DIRENT_BYTES + nameBytes) - DIRENT_BYTES - nameBytes)
    assert.ok(
      padding.every((byte) => byte === 0),
      'padding of a dirent',
    )
    dirents.push(entry === undefined ? { ino, off, type, name } : { ino, off, type, name, entry })
  }
  return dirents
}

/** fuse_init_out. */
export interface InitReply {
  major: number
  minor: number
  maxReadahead: number
  flags: bigint
  maxBackground: number
  congestionThreshold: number
  maxWrite: number
  timeGran: number
  maxPages: number
  mapAlignment: number
  maxStackDepth: number
}

export function readInitReply(r: Reader): InitReply {
  const [major, minor, maxReadahead, low] = [r.u32(), r.u32(), r.u32(), r.u32()]
  const [maxBackground, congestionThreshold] = [r.u16(), r.u16()]
  const [maxWrite, timeGran] = [r.u32(), r.u32()]
  const [maxPages, mapAlignment] = [r.u16(), r.u16()]
  const [high, maxStackDepth] = [r.u32(), r.u32()]
  const rest = r.take(r.leftBytes)
  assert.ok(
    rest.every((byte) => byte === 0),
    'the unused end of init_out',
  )
  const flags = BigInt(low) | (BigInt(high) << 32n)
  const sizes = { maxReadahead, maxWrite, timeGran, maxPages, mapAlignment, maxStackDepth }
  return { major, minor, flags, maxBackground, congestionThreshold, ...sizes }
}

/** fuse_kstatfs. */
export interface Statfs {
  blocks: bigint
  bfree: bigint
  bavail: bigint
  files: bigint
  ffree: bigint
  bsize: number
  namelen: number
  frsize: number
}

export function readStatfs(r: Reader): Statfs {
  const [blocks, bfree, bavail, files, ffree] = [r.u64(), r.u64(), r.u64(), r.u64(), r.u64()]
  const [bsize, namelen, frsize] = [r.u32(), r.u32(), r.u32()]
  const rest = r.take(28)
  assert.ok(
    rest.every((byte) => byte === 0),
    'spare words of kstatfs',
  )
  return { blocks, bfree, bavail, files, ffree, bsize, namelen, frsize }
}

const EXT_GROUPS = 32

/** The extension of CREATE_SUPP_GROUP: fuse_ext_header and fuse_supp_groups, padded to 8 bytes. */
export function groupsExtension(...groups: number[]): Uint8Array {
  const sizeBytes = align8(12 + 4 * groups.length)
  const extension = new Uint8Array(sizeBytes)
  extension.set(u32(sizeBytes, EXT_GROUPS, groups.length, ...groups))
  return extension
}
