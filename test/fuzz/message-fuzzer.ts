import { writeSync } from 'node:fs'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import type { ByteSource } from './byte-source.js'

export const MEMORY_BYTES = 0x2_0000
/** VERSION_1, EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES, LOG_ALL. */
export const FEATURES = 0x1_7400_0000n
const FEATURES_WITHOUT_LOG = 0x1_7000_0000n
/** MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG, RESET_DEVICE, CONFIGURE_MEM_SLOTS, DEVICE_STATE. */
const PROTOCOL_FEATURES = 0x8_a22bn
const UVA_BASE = 0x7f00_0000_0000n
const HEADER_BYTES = 12
const MAX_PAYLOAD_BYTES = 4096
const VERSION = 1
const NEED_REPLY = 8
const NO_FD = 0x100n

/** Descriptors that a front-end may send. */
export const memoryKinds = [
  'memory',
  'short memory',
  'eventfd',
  'blocking eventfd',
  'directory',
  'device',
  'socket',
] as const
export type MemoryKind = (typeof memoryKinds)[number]

/** Guest addresses and lengths of regions: some touch, some overlap, some are no whole pages. */
const regions: readonly (readonly [gpa: bigint, sizeBytes: bigint])[] = [
  ...([
    [0n, 0x1_0000n],
    [0x1_0000n, 0x1_0000n],
    [0n, 0x2_0000n],
    [0x10_0000n, 0x1000n],
  ] as const),
  ...([
    [0x8000n, 0x1_0000n],
    [1n, 0x1000n],
    [0n, 0x800n],
    [0n, 0n],
    [(1n << 53n) - 0x1000n, 0x1000n],
  ] as const),
]
const ringPlaces = [0n, 0x4000n, 0x8000n, 0xf000n, 0x1_0000n, 0x10_0000n, 0x0008n]

const requests = [...Object.values(FrontendRequest), 0, 19, 22, 31, 0xffff_ffff]

/** A message, and where its bytes are cut in two. */
export interface MadeMessage {
  readonly whole: Uint8Array
  readonly fds: readonly MemoryKind[]
  readonly cutAt: number
}

/**
 * A front-end that keeps to the protocol, or breaks it, as the bytes decide. Its driver writes rings as they decide.
 */
export class MessageFuzzer {
  private readonly whole = Buffer.alloc(HEADER_BYTES + MAX_PAYLOAD_BYTES)
  private at = HEADER_BYTES
  private negotiated = 0
  private nextAvail = 0

  constructor(
    private readonly bytes: ByteSource,
    private readonly memoryFd: number,
  ) {}

  next(): MadeMessage {
    const { bytes } = this
    // The messages that every front-end begins with; they may be repeated later.
    const first = this.negotiated < 2 && !bytes.oneIn(8)
    const request = first
      ? [FrontendRequest.SET_PROTOCOL_FEATURES, FrontendRequest.SET_FEATURES][this.negotiated++]
      : bytes.pick(requests)
    this.writeRings()
    this.at = HEADER_BYTES
    const fds = this.payload(request, first)
    if (bytes.oneIn(32)) this.at = HEADER_BYTES + bytes.below(MAX_PAYLOAD_BYTES + 1)
    const flags = bytes.oneIn(64) ? bytes.edge32() : VERSION | (bytes.oneIn(2) ? NEED_REPLY : 0)
    this.whole.writeUInt32LE(request >>> 0, 0)
    this.whole.writeUInt32LE(flags, 4)
    this.whole.writeUInt32LE(bytes.oneIn(128) ? bytes.edge32() : this.at - HEADER_BYTES, 8)
    const whole = Uint8Array.from(this.whole.subarray(0, this.at))
    return {
      whole,
      fds: this.distorted(fds),
      cutAt: bytes.oneIn(8) ? 1 + bytes.below(whole.length) : whole.length,
    }
  }

  private distorted(fds: readonly MemoryKind[]): readonly MemoryKind[] {
    const { bytes } = this
    if (bytes.oneIn(16)) return Array.from({ length: bytes.below(4) }, () => bytes.pick(memoryKinds))
    if (bytes.oneIn(128)) return Array.from({ length: bytes.below(64) }, () => bytes.pick(memoryKinds))
    return fds.map((kind) => (bytes.oneIn(16) ? bytes.pick(memoryKinds) : kind))
  }

  /** Writes the payload; returns the descriptors that belong to it. */
  private payload(request: number, plain: boolean): readonly MemoryKind[] {
    const { bytes } = this
    switch (request) {
      case FrontendRequest.SET_FEATURES:
        this.u64(
          plain ? FEATURES : bytes.pick([FEATURES, FEATURES_WITHOUT_LOG, 0n, 0x1_0000_0000n, bytes.edge64()]),
        )
        return []
      case FrontendRequest.SET_PROTOCOL_FEATURES:
        this.u64(plain ? PROTOCOL_FEATURES : bytes.pick([PROTOCOL_FEATURES, 0n, bytes.edge64()]))
        return []
      case FrontendRequest.SET_MEM_TABLE: {
        const count = bytes.oneIn(8) ? bytes.below(16) : 1 + bytes.below(3)
        this.u32(bytes.oneIn(16) ? bytes.edge32() : count)
        this.u32(0)
        for (let n = 0; n < count; n++) this.region()
        return new Array(count).fill('memory')
      }
      case FrontendRequest.ADD_MEM_REG:
      case FrontendRequest.REM_MEM_REG:
        this.u64(0n)
        this.region()
        return request === FrontendRequest.ADD_MEM_REG ? ['memory'] : []
      case FrontendRequest.SET_VRING_NUM:
        this.state(bytes.oneIn(8) ? bytes.edge32() : bytes.pick([1, 2, 4, 16, 64, 128]))
        return []
      case FrontendRequest.SET_VRING_BASE:
        this.state(bytes.oneIn(8) ? bytes.edge32() : bytes.pick([0, 0, 0xffff, 0x1_0000]))
        return []
      case FrontendRequest.SET_VRING_ENABLE:
        this.state(bytes.oneIn(16) ? bytes.edge32() : 1 - bytes.below(2))
        return []
      case FrontendRequest.GET_VRING_BASE:
        this.state(0)
        return []
      case FrontendRequest.SET_VRING_ADDR: {
        this.u32(this.queue())
        this.u32(bytes.oneIn(16) ? bytes.edge32() : bytes.below(2))
        const gpa = bytes.pick(ringPlaces)
        for (const offset of [0n, 0x2000n, 0x3000n])
          this.u64(bytes.oneIn(16) ? bytes.edge64() : UVA_BASE + gpa + offset)
        this.u64(bytes.oneIn(8) ? bytes.edge64() : gpa + 0x3000n)
        return []
      }
      case FrontendRequest.SET_LOG_BASE:
        this.u64(bytes.oneIn(8) ? bytes.edge64() : bytes.pick([4n, 3n, 0x1000n, 0n]))
        this.u64(bytes.oneIn(8) ? bytes.edge64() : bytes.pick([0n, 0x1_0001n, 0x1_fffcn]))
        return ['memory']
      case FrontendRequest.SET_LOG_FD:
        return ['eventfd']
      case FrontendRequest.SET_DEVICE_STATE_FD:
        this.u32(bytes.oneIn(16) ? bytes.edge32() : bytes.below(2))
        this.u32(bytes.oneIn(16) ? bytes.edge32() : 0)
        return ['socket']
      case FrontendRequest.SET_VRING_KICK:
      case FrontendRequest.SET_VRING_CALL:
      case FrontendRequest.SET_VRING_ERR: {
        const noFd = bytes.oneIn(8)
        this.u64(BigInt(this.queue() & 0xff) | (noFd ? NO_FD : 0n) | (bytes.oneIn(32) ? bytes.edge64() : 0n))
        return noFd ? [] : ['eventfd']
      }
      case FrontendRequest.SET_BACKEND_REQ_FD:
        return ['socket']
      case FrontendRequest.GET_CONFIG:
      case FrontendRequest.SET_CONFIG: {
        const sizeBytes = bytes.oneIn(8) ? bytes.edge32() : bytes.below(64)
        this.u32(bytes.oneIn(8) ? bytes.edge32() : bytes.below(64))
        this.u32(sizeBytes)
        this.u32(0)
        this.at += Math.min(sizeBytes, 256)
        return []
      }
      default:
        return []
    }
  }

  private region(): void {
    const { bytes } = this
    const [gpa, sizeBytes] = bytes.pick(regions)
    this.u64(bytes.oneIn(32) ? bytes.edge64() : gpa)
    this.u64(bytes.oneIn(32) ? bytes.edge64() : sizeBytes)
    this.u64(bytes.oneIn(16) ? bytes.edge64() : UVA_BASE + gpa)
    this.u64(bytes.oneIn(16) ? bytes.edge64() : bytes.pick([0n, 0n, 0x1000n, 0x800n]))
  }

  private queue(): number {
    return this.bytes.oneIn(16) ? this.bytes.edge32() : this.bytes.below(3)
  }

  private state(num: number): void {
    this.u32(this.queue())
    this.u32(num)
  }

  /** The driver's turn: writes two descriptors and the available ring, at a place where rings may lie. */
  private writeRings(): void {
    const { bytes } = this
    if (bytes.oneIn(2)) return
    const place = Number(bytes.pick(ringPlaces) & 0xffffn)
    const words = new Uint32Array(8)
    for (const n of [0, 4]) {
      words[n] = bytes.oneIn(4) ? bytes.edge32() : 0x6000 + bytes.u8()
      words[n + 2] = bytes.oneIn(4) ? bytes.edge32() : bytes.below(600)
      words[n + 3] = n === 0 ? (bytes.oneIn(4) ? bytes.edge32() : 0x1_0001) : 2
    }
    writeSync(this.memoryFd, words, 0, 32, place)
    this.nextAvail = bytes.oneIn(16) ? bytes.u16() : (this.nextAvail + 1) & 0xffff
    writeSync(
      this.memoryFd,
      Uint16Array.of(0, this.nextAvail, bytes.oneIn(8) ? bytes.u16() : 0),
      0,
      6,
      place + 0x3000,
    )
  }

  private u32(value: number): void {
    this.at = this.whole.writeUInt32LE(value >>> 0, this.at)
  }

  private u64(value: bigint): void {
    this.at = this.whole.writeBigUInt64LE(BigInt.asUintN(64, value), this.at)
  }
}
