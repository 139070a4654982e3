import { Op } from '../support/fuse/fuse-abi.js'
import type { ByteSource } from './byte-source.js'
import { type Field, fuseShapes } from './fuse-shapes.js'

const HEADER_BYTES = 40
/** The greatest length of a generated request; its header may claim another. */
const MAX_BYTES = 16_384
const MAX_KNOWN = 32
const ENTRY_BYTES = 128

const names = [
  'file',
  'dir',
  'deep',
  'link',
  'out',
  'fifo',
  'node',
  'new',
  'other',
  'huge',
  'user.x',
  'security.capability',
]
const badNames = [
  '.',
  '..',
  '',
  '/',
  '../outside',
  'dir/deep',
  '/etc/passwd',
  'a\0b',
  'n'.repeat(255),
  'n'.repeat(256),
]
const targets = ['file', '../outside/secret', '/etc/passwd', '.', 't'.repeat(4095), 't'.repeat(4096)]
const offsets = [0, 1, 511, 512, 4095, 4096, 65_536, 2 ** 31, 2 ** 32, 2 ** 53 - 4096, 2 ** 53 - 1].map(
  BigInt,
)
const counts = [0, 1, 2, 3, 4, 5, 6, 7].map(BigInt)

/** Values that a well-behaved guest might send. */
const usual32 = {
  u32: [0, 1, 2, 3],
  size: [0, 1, 16, 512, 4096, 65_536],
  'open flags': [0, 1, 2, 0o1002, 0o2002, 0o40002, 0o302],
  mode: [0o100644, 0o40755, 0o10600, 0o20600, 0o4777],
  /** FS_IOC_GETFLAGS, SETFLAGS, FSGETXATTR and FSSETXATTR. */
  ioctl: [0x8008_6601, 0x4008_6602, 0x801c_581f, 0x401c_5820],
  nsec: [0, 999_999_999, 1_000_000_000, 0x3fff_ffff],
} as const

/** A request that is ready to be sent. */
export interface MadeRequest {
  readonly opcode: number
  readonly unique: bigint
  readonly whole: Uint8Array
}

/** The reply to a request. */
export interface SeenReply {
  readonly opcode: number
  readonly error: number
  /** The bytes after the header. */
  readonly body: DataView
}

/** Node ids and handles that several guests have heard of: threads may share the memory. 0: none. */
export class Rumours {
  static readonly BYTES = 2 * 8 * MAX_KNOWN
  private readonly ids: BigUint64Array

  constructor(memory: SharedArrayBuffer) {
    this.ids = new BigUint64Array(memory)
  }

  spread(kind: 'nodeid' | 'handle', id: bigint): void {
    Atomics.store(this.ids, this.placeOf(kind) + Number(id % BigInt(MAX_KNOWN)), id)
  }

  hear(kind: 'nodeid' | 'handle', bytes: ByteSource): bigint {
    return Atomics.load(this.ids, this.placeOf(kind) + bytes.below(MAX_KNOWN))
  }

  forget(): void {
    this.ids.fill(0n)
  }

  private placeOf(kind: 'nodeid' | 'handle'): number {
    return kind === 'nodeid' ? 0 : MAX_KNOWN
  }
}

/** A guest that knows its inodes and handles, and sends any request with them. */
export class FuseFuzzer {
  private readonly whole = Buffer.alloc(MAX_BYTES + HEADER_BYTES)
  private readonly nodeids: bigint[] = [1n]
  private readonly handles: bigint[] = [0n]
  private at = 0
  private nextUnique = 0x8000_0002_8000_0002n

  /** `rumours`: what other guests have heard of, too. */
  constructor(
    private readonly bytes: ByteSource,
    private readonly rumours?: Rumours,
  ) {}

  /** The requests that a guest begins with. */
  init(): MadeRequest {
    this.at = HEADER_BYTES
    for (const word of [7, 45, 131_072, 0xffff_ffff, 0xffff_ffff]) this.u32(word)
    return this.finish(Op.INIT, 0n, 0)
  }

  next(): MadeRequest {
    const { bytes } = this
    const [opcode, ...fields] = bytes.pick(fuseShapes)
    const nodeid = this.nodeid()
    this.at = HEADER_BYTES
    for (const field of fields) this.field(field)
    if (bytes.oneIn(32)) this.at = HEADER_BYTES + bytes.below(this.at - HEADER_BYTES + 1)
    const extensions = bytes.oneIn(16) ? this.extension() : 0
    return this.finish(bytes.oneIn(64) ? bytes.edge32() : opcode, nodeid, extensions)
  }

  /** Records the inodes and handles that a reply grants. */
  learn({ opcode, error, body }: SeenReply): void {
    if (error !== 0 || body.byteLength < 8) return
    switch (opcode) {
      case Op.LOOKUP:
      case Op.MKNOD:
      case Op.MKDIR:
      case Op.SYMLINK:
      case Op.LINK:
        this.keep('nodeid', body.getBigUint64(0, true))
        break
      case Op.OPEN:
      case Op.OPENDIR:
        this.keep('handle', body.getBigUint64(0, true))
        break
      case Op.CREATE:
        if (body.byteLength < ENTRY_BYTES + 8) return
        this.keep('nodeid', body.getBigUint64(0, true))
        this.keep('handle', body.getBigUint64(ENTRY_BYTES, true))
    }
  }

  private keep(kind: 'nodeid' | 'handle', id: bigint): void {
    keep(kind === 'nodeid' ? this.nodeids : this.handles, id)
    this.rumours?.spread(kind, id)
  }

  /** Returns an id of another guest, now and then. */
  private heard(kind: 'nodeid' | 'handle'): bigint {
    return this.rumours !== undefined && this.bytes.oneIn(4) ? this.rumours.hear(kind, this.bytes) : 0n
  }

  private finish(opcode: number, nodeid: bigint, extensions: number): MadeRequest {
    const { bytes, whole, at } = this
    const unique = this.nextUnique
    this.nextUnique += 2n
    whole.writeUInt32LE(bytes.oneIn(64) ? bytes.edge32() : at, 0)
    whole.writeUInt32LE(opcode, 4)
    whole.writeBigUInt64LE(unique, 8)
    whole.writeBigUInt64LE(nodeid, 16)
    const [uid, gid] = bytes.oneIn(8) ? [bytes.edge32(), bytes.edge32()] : [0, 0]
    whole.writeUInt32LE(uid, 24)
    whole.writeUInt32LE(gid, 28)
    whole.writeUInt32LE(1, 32)
    whole.writeUInt32LE(bytes.oneIn(64) ? bytes.edge32() : extensions, 36)
    return { opcode, unique, whole: Uint8Array.from(whole.subarray(0, at)) }
  }

  /** A header of groups; returns its length in units of 8 bytes. */
  private extension(): number {
    const { bytes } = this
    this.at = (this.at + 7) & ~7
    const count = bytes.below(4)
    this.u32(bytes.oneIn(4) ? bytes.edge32() : 16)
    this.u32(bytes.oneIn(4) ? bytes.edge32() : 32)
    this.u32(bytes.oneIn(4) ? bytes.edge32() : count)
    this.u32(bytes.edge32())
    return 2
  }

  private field(field: Field): void {
    const { bytes } = this
    switch (field) {
      case 'name':
        this.text(bytes.oneIn(8) ? bytes.pick(badNames) : bytes.pick(names))
        break
      case 'text':
        this.text(bytes.pick(targets))
        break
      case 'data':
        this.at += bytes.below(8192)
        break
      case 'nodeid':
        this.u64(this.nodeid())
        break
      case 'handle': {
        const heard = this.heard('handle')
        this.u64(heard !== 0n ? heard : bytes.oneIn(16) ? bytes.edge64() : bytes.pick(this.handles))
        break
      }
      case 'u64':
      case 'offset':
        this.u64(bytes.oneIn(16) ? bytes.edge64() : bytes.pick(this.usual64(field)))
        break
      default:
        this.u32(bytes.oneIn(8) ? bytes.edge32() : bytes.pick(usual32[field]))
    }
  }

  private usual64(field: 'u64' | 'offset'): readonly bigint[] {
    return field === 'offset' ? offsets : counts
  }

  private nodeid(): bigint {
    const heard = this.heard('nodeid')
    if (heard !== 0n) return heard
    return this.bytes.oneIn(32) ? this.bytes.edge64() : this.bytes.pick(this.nodeids)
  }

  private u32(value: number): void {
    this.at = this.whole.writeUInt32LE(value >>> 0, this.at)
  }

  private u64(value: bigint): void {
    this.at = this.whole.writeBigUInt64LE(BigInt.asUintN(64, value), this.at)
  }

  private text(text: string): void {
    this.at += this.whole.write(this.bytes.oneIn(64) ? text : `${text}\0`, this.at, 'latin1')
  }
}

function keep(known: bigint[], value: bigint): void {
  if (known.includes(value)) return
  if (known.length < MAX_KNOWN) known.push(value)
  else known[1 + Number(value % BigInt(MAX_KNOWN - 1))] = value
}
