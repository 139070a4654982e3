import * as zlib from 'node:zlib'
import { StateError } from 'vhost-user-ts'

/*
 * The format in which the state of a share moves to another device. Little endian.
 *
 *   stream  = magic, block ..., end block
 *   block   = tag (4 ASCII letters), u16 version, u16 flags, u32 bytes, u32 CRC-32 of the contents, contents
 *
 * A section is the blocks of one tag. Its contents are text (JSON) or whole records, each with its length, so that later
 * versions can append fields. A reader skips a section that it does not know, unless REQUIRED is set, and refuses a later
 * version of one that it knows. The end block counts the blocks before it.
 */

/** "vfs-ts" and a number that changes only if the layout of blocks does. */
export const MAGIC = Uint8Array.from([0x76, 0x66, 0x73, 0x2d, 0x74, 0x73, 0x00, 0x01])
export const BLOCK_HEADER_BYTES = 16
/** More than any writer puts into a block. */
export const MAX_BLOCK_BYTES = 256 * 1024
/** The flag of a section that a reader must know. */
export const REQUIRED = 1
export const END_TAG = 'END '

const TAG_PATTERN = /^[A-Z0-9 ]{4}$/

/** One block of a section. */
export interface Block {
  readonly tag: string
  readonly version: number
  readonly isRequired: boolean
  readonly contents: Uint8Array
}

export function encodeBlock({ tag, version, isRequired, contents }: Block): Uint8Array {
  const bytes = new Uint8Array(BLOCK_HEADER_BYTES + contents.length)
  const view = new DataView(bytes.buffer)
  for (let n = 0; n < 4; n++) bytes[n] = tag.charCodeAt(n)
  view.setUint16(4, version, true)
  view.setUint16(6, isRequired ? REQUIRED : 0, true)
  view.setUint32(8, contents.length, true)
  view.setUint32(12, crc32(contents), true)
  bytes.set(contents, BLOCK_HEADER_BYTES)
  return bytes
}

/** Splits a stream into blocks, in pieces of any size. Holds at most one block. Throws StateError. */
export class BlockReader {
  private held = new Uint8Array(0)
  private blocks = 0
  private begun = false
  private ended = false

  constructor(private readonly take: (block: Block) => void) {}

  write(piece: Uint8Array): void {
    const bytes = this.held.length === 0 ? piece : join(this.held, piece)
    let at = 0
    if (!this.begun && bytes.length >= MAGIC.length) {
      at = MAGIC.length
      if (MAGIC.some((byte, n) => bytes[n] !== byte))
        throw new StateError('the state is not one of virtiofsd-ts, or of a later format')
      this.begun = true
    }
    while (this.begun) {
      const blockBytes = this.blockBytesAt(bytes, at)
      if (blockBytes === 0 || at + blockBytes > bytes.length) break
      this.takeBlock(bytes.subarray(at, at + blockBytes))
      at += blockBytes
    }
    // A copy, because the caller uses the piece again.
    this.held = bytes.slice(at)
  }

  end(): void {
    if (!this.ended) throw new StateError('the state ends too early')
  }

  /** Returns the bytes of the block at `at`, or 0 if its header is not there yet. */
  private blockBytesAt(bytes: Uint8Array, at: number): number {
    if (bytes.length - at > 0 && this.ended) throw new StateError('the state has bytes behind its end')
    if (bytes.length - at < BLOCK_HEADER_BYTES) return 0
    const lenBytes = viewOf(bytes).getUint32(at + 8, true)
    if (lenBytes > MAX_BLOCK_BYTES) throw damaged('a block is too long')
    return BLOCK_HEADER_BYTES + lenBytes
  }

  private takeBlock(bytes: Uint8Array): void {
    const view = viewOf(bytes)
    const contents = bytes.subarray(BLOCK_HEADER_BYTES)
    const tag = String.fromCharCode(...bytes.subarray(0, 4))
    if (!TAG_PATTERN.test(tag)) throw damaged('a section has no name')
    if (view.getUint32(12, true) !== crc32(contents)) throw damaged(`a checksum of section ${tag} is wrong`)
    if (tag === END_TAG) {
      if (contents.length < 4 || viewOf(contents).getUint32(0, true) !== this.blocks)
        throw damaged('blocks are missing')
      this.ended = true
      return
    }
    this.blocks++
    const isRequired = (view.getUint16(6, true) & REQUIRED) !== 0
    this.take({ tag, version: view.getUint16(4, true), isRequired, contents })
  }
}

export function damaged(what: string): StateError {
  return new StateError(`the state is damaged: ${what}`)
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let bit = 0; bit < 8; bit++) c = (c & 1) !== 0 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

function ownCrc32(bytes: Uint8Array): number {
  let crc = -1
  for (let n = 0; n < bytes.length; n++) crc = CRC_TABLE[(crc ^ bytes[n]) & 0xff] ^ (crc >>> 8)
  return (crc ^ -1) >>> 0
}

/** CRC-32 as in zlib, whose own function Node lacks before 20.15. */
export const crc32: (bytes: Uint8Array) => number = zlib.crc32 ?? ownCrc32
