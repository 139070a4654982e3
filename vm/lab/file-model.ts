import { createHash } from 'node:crypto'
import { FUSE_WRITE_CACHE, Opcode } from 'virtio-fs-ts/protocol'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'

interface Range {
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/** Most ranges listed in a fault. */
const NAMED_RANGES = 4

/** The expected final contents of a case's file, and the expected WRITE requests. */
export class FileModel {
  private bytes: Buffer
  private appended: { readonly at: number; readonly blocks: Buffer[] } | undefined
  private expectedWrites: Range[] | undefined
  /** False if the cache policy lets the guest see older bytes than the host. */
  comparesGuest = true

  constructor(bytes: Buffer) {
    this.bytes = Buffer.from(bytes)
  }

  /** Expects these bytes after a write or another operation. */
  put(offsetBytes: number, bytes: Uint8Array): void {
    const end = offsetBytes + bytes.length
    if (end > this.bytes.length) this.resize(end)
    this.bytes.set(bytes, offsetBytes)
  }

  fill(offsetBytes: number, sizeBytes: number, byte: number): void {
    this.put(offsetBytes, Buffer.alloc(sizeBytes, byte))
  }

  /** Expects an appended block. Appended blocks may come in any order. */
  append(block: Buffer): void {
    this.appended ??= { at: this.bytes.length, blocks: [] }
    this.appended.blocks.push(block)
    this.resize(this.bytes.length + block.length)
  }

  /** New bytes are zeros. */
  resize(sizeBytes: number): void {
    const before = this.bytes
    this.bytes = Buffer.alloc(sizeBytes)
    before.copy(this.bytes)
  }

  replace(bytes: Buffer): void {
    this.bytes = Buffer.from(bytes)
  }

  /** From now on, every WRITE that bypasses the page cache has to be one of the expected ones. */
  expectWrite(offsetBytes: number, sizeBytes: number): void {
    this.expectedWrites ??= []
    this.expectedWrites.push({ offsetBytes, sizeBytes })
  }

  /** Describes the faults of the file on the host. */
  faultsOf(host: Buffer): string[] {
    if (host.length !== this.bytes.length)
      return [`${host.length} bytes on the host instead of ${this.bytes.length}`]
    this.settleAppended(host)
    const wrong = countWrong(host, this.bytes)
    return wrong === 0 ? [] : [`${wrong} bytes wrong on the host, from ${firstWrong(host, this.bytes)} on`]
  }

  /** Describes the faults of the guest's view. `seen` holds the output of `wc -c` and `md5sum`. Call after `faultsOf`. */
  guestFaultsOf(seen: { sizeBytes: number; md5: string }): string[] {
    if (!this.comparesGuest) return []
    if (seen.sizeBytes !== this.bytes.length)
      return [`${seen.sizeBytes} bytes in the guest instead of ${this.bytes.length}`]
    const md5 = createHash('md5').update(this.bytes).digest('hex')
    return seen.md5 === md5 ? [] : ['other bytes in the guest']
  }

  /** Describes wrong offsets and lengths of WRITEs that bypassed the page cache. */
  writeFaultsOf(requests: readonly TimedRequest[]): string[] {
    if (this.expectedWrites === undefined) return []
    const seen = requests
      .filter(
        ({ request }) => request.opcode === Opcode.WRITE && (request.detailFlags & FUSE_WRITE_CACHE) === 0,
      )
      .map(({ request }) => nameOf(request))
    const missing = this.expectedWrites.map(nameOf).filter((name) => {
      const at = seen.indexOf(name)
      if (at >= 0) seen.splice(at, 1)
      return at < 0
    })
    return [...listOf('no WRITE', missing), ...listOf('needless WRITE', seen)]
  }

  /** Matches appended blocks: they may come in any order, but each exactly once. */
  private settleAppended(host: Buffer): void {
    if (this.appended === undefined) return
    const { at, blocks } = this.appended
    const left = [...blocks]
    for (let offset = at; left.length > 0; ) {
      const rest = host.subarray(offset)
      const found = left.findIndex((block) => rest.subarray(0, block.length).equals(block))
      const [block] = left.splice(Math.max(0, found), 1)
      this.bytes.set(block!, offset)
      offset += block!.length
    }
  }
}

/** "4096@8192": length and offset, as in the lines of a trace. */
function nameOf({ offsetBytes, sizeBytes }: Range): string {
  return `${sizeBytes}@${offsetBytes}`
}

function listOf(what: string, names: readonly string[]): string[] {
  if (names.length === 0) return []
  const named = names.slice(0, NAMED_RANGES).join(' ')
  return [`${what} ${named}${names.length > NAMED_RANGES ? ` and ${names.length - NAMED_RANGES} more` : ''}`]
}

function countWrong(a: Buffer, b: Buffer): number {
  let wrong = 0
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) wrong++
  return wrong
}

function firstWrong(a: Buffer, b: Buffer): number {
  return a.findIndex((byte, at) => byte !== b[at])
}

/** The bytes that io-actor's `fill` writes. */
export function patternBytes(offsetBytes: number, sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (let n = 0; n < sizeBytes; n++) {
    const at = offsetBytes + n
    bytes[n] = at * 7 + (at >>> 12) * 31 + (at >>> 20) * 101 + seed
  }
  return bytes
}
