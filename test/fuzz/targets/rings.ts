import { strict as assert } from 'node:assert'
import { GuestMemory } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import type { DescriptorChain } from '#vhost-user/rings/descriptor-chain'
import { SplitVirtqueue } from '#vhost-user/rings/split-virtqueue'
import { ok } from '../../support/device/descriptors.js'
import { layoutAt } from '../../support/rings/ring.js'
import { ByteSource } from '../byte-source.js'
import { recordsOf } from '../input.js'
import type { Target } from '../target.js'

export const REGION_BYTES = 0x1_0000
/** Two regions that touch, and one after a gap. The rings and all that the driver writes lie in the first. */
export const REGIONS = [0, REGION_BYTES, 4 * REGION_BYTES]
const SIZES = [1, 2, 4, 8, 16, 64]
const SCRATCH_BYTES = 4096
const FILE_BYTES = 0x4000
const MAX_PENDING = 8

/** Addresses for descriptors: in the regions, across their borders, and outside. */
const places = [
  ...[0x8000, 0xfff0, 0xffff, 0x1_0000, 0x1_8001, 0x1_fff8, 0x2_0000, 0x3_ffff, 0x4_0000, 0x4_fffc, 0x5_0000],
  ...[0, 4096, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53],
]

/** Descriptors, indirect tables and indices that a driver writes, and chains that the device uses in every way it can. */
export class RingTarget implements Target {
  readonly name: string = 'rings'
  readonly memoryFds: readonly number[]
  private readonly memory = new GuestMemory()
  /** The regions, as the driver sees them. */
  private readonly views: readonly Uint8Array[]
  private readonly bytes = new ByteSource()
  private readonly scratch = new Int32Array(SCRATCH_BYTES / 4)
  private readonly scratchBytes = new Uint8Array(this.scratch.buffer)
  private readonly fileFd = ok(native.memfdCreate(FILE_BYTES))
  private readonly pending: DescriptorChain[] = []
  private size = 1
  private queue!: SplitVirtqueue
  private eventIdx = false
  private nextAvail = 0
  private chains = 0

  constructor() {
    this.memoryFds = REGIONS.map((gpa) => {
      const fd = ok(native.memfdCreate(REGION_BYTES))
      this.memory.add(fd, gpa, REGION_BYTES, gpa, 0)
      return fd
    })
    this.views = REGIONS.map(
      (gpa) => new Uint8Array(this.memory.openRing(gpa, REGION_BYTES) ?? new ArrayBuffer()),
    )
  }

  run(input: Uint8Array): number {
    this.chains = 0
    for (const view of this.views) view.fill(0)
    this.restart(input[0] ?? 0)
    for (const record of recordsOf(input)) {
      this.bytes.begin(record)
      this.step()
    }
    for (const chain of this.pending.splice(0)) this.queue.complete(chain, 0)
    this.queue.close()
    return this.chains
  }

  close(): void {
    this.memory.destroy()
    for (const fd of [...this.memoryFds, this.fileFd]) native.close(fd)
  }

  /** Chains in one record: a driver's turn, then the device's. */
  private step(): void {
    const { bytes } = this
    if (this.queue.broken || bytes.oneIn(64)) this.restart(bytes.u8())
    this.writeChain(bytes.oneIn(4))
    if (bytes.oneIn(16)) this.nextAvail = bytes.u16()
    this.publish()
    if (bytes.oneIn(8)) this.poke(this.layout.availGpa + 4 + 2 * this.size, Uint16Array.of(bytes.u16()))
    if (!bytes.oneIn(8)) this.drain()
    if (bytes.oneIn(4)) this.queue.armKick()
    if (bytes.oneIn(4)) this.queue.disarmKick()
    this.queue.shouldSignal()
    while (this.pending.length > (bytes.oneIn(4) ? 0 : MAX_PENDING)) {
      const [chain] = this.pending.splice(bytes.below(this.pending.length), 1)
      this.queue.complete(chain, bytes.edge32())
    }
  }

  private get layout() {
    return layoutAt(0, this.size)
  }

  private restart(choice: number): void {
    for (const chain of this.pending.splice(0)) this.queue.complete(chain, 0)
    this.queue?.close()
    this.size = SIZES[choice % SIZES.length]
    this.eventIdx = (choice & 64) !== 0
    this.nextAvail = choice & 32 ? 0xfffe : 0
    this.poke(this.layout.availGpa, new Uint16Array(2 + this.size))
    this.queue = new SplitVirtqueue(
      this.memory,
      this.layout,
      this.eventIdx,
      (choice & 128) === 0,
      this.nextAvail,
    )
  }

  /** Writes one to four descriptors, in the table or as an indirect one, and puts the first on the available ring. */
  private writeChain(indirect: boolean): void {
    const { bytes, size } = this
    const first = bytes.below(size)
    const count = 1 + bytes.below(4)
    const words = Array.from({ length: count }, (_, n) =>
      this.descriptor(indirect ? n : (first + n) % size, n, count),
    )
    if (indirect) {
      const gpa = 0x9000 + bytes.below(3) * 8
      const lenBytes = bytes.oneIn(8) ? bytes.edge32() : 16 * count
      for (const [n, descriptor] of words.entries()) this.poke(gpa + 16 * n, descriptor)
      this.pokeDescriptor(first, Uint32Array.of(gpa, 0, lenBytes, bytes.oneIn(8) ? bytes.u32() : 4))
    } else {
      for (const [n, descriptor] of words.entries()) this.pokeDescriptor((first + n) % size, descriptor)
    }
    const head = bytes.oneIn(16) ? bytes.u16() : first
    this.poke(this.layout.availGpa + 4 + 2 * (this.nextAvail % size), Uint16Array.of(head))
  }

  /** The `n`th of `count`: the next one behind it, writable from some point on, unless the bytes say otherwise. */
  private descriptor(index: number, n: number, count: number): Uint32Array {
    const { bytes } = this
    const place = BigInt(bytes.pick(places)) + BigInt(bytes.below(64))
    const gpa = bytes.oneIn(16) ? bytes.edge64() : place
    const lenBytes = bytes.oneIn(4) ? bytes.edge32() : bytes.below(1024)
    const writable = bytes.oneIn(2) && n > 0 ? 2 : 0
    const more = n + 1 < count ? 1 : 0
    const flags = bytes.oneIn(16) ? bytes.u8() : writable | more
    const next = bytes.oneIn(16) ? bytes.u16() : (index + 1) % this.size
    return Uint32Array.of(
      Number(gpa & 0xffff_ffffn),
      Number((gpa >> 32n) & 0xffff_ffffn),
      lenBytes,
      flags | (next << 16),
    )
  }

  private publish(): void {
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    this.poke(this.layout.availGpa + 2, Uint16Array.of(this.nextAvail))
  }

  private drain(): void {
    const { queue } = this
    const waiting = queue.available()
    assert.ok(waiting >= -1 && waiting <= this.size)
    for (let n = 0; n < waiting; n++) {
      const before = queue.inFlightCount
      const chain = queue.pop()
      this.chains++
      const taken = chain ?? queue.refused
      assert.equal(queue.inFlightCount, before + (taken === undefined ? 0 : 1))
      if (taken !== undefined) this.check(taken)
      if (chain === undefined) {
        if (taken === undefined) continue
        // Answers a chain as a device does, if there is room for a header.
        if (this.bytes.oneIn(4)) this.pending.push(taken)
        else queue.complete(taken, Math.min(16, taken.writableBytes))
        continue
      }
      this.use(chain)
      if (this.bytes.oneIn(4)) this.pending.push(chain)
      else queue.complete(chain, chain.writableBytes)
    }
  }

  /** Checks that a chain keeps its lengths and segments, whatever memory holds by now. */
  private check(chain: DescriptorChain): void {
    const { segments, readableSegments, segmentCount, readableBytes, writableBytes, head } = chain
    assert.ok(head >= 0 && head < this.size)
    assert.ok(!this.pending.includes(chain) && this.pending.every((other) => other.head !== head))
    assert.ok(readableSegments <= segmentCount && segmentCount <= this.size)
    const sums = [0, 0]
    for (let n = 0; n < segmentCount; n++) {
      const [gpa, lenBytes] = segments.subarray(2 * n, 2 * n + 2)
      assert.ok(this.memory.contains(gpa, lenBytes), `${lenBytes} bytes at ${gpa}`)
      sums[n < readableSegments ? 0 : 1] += lenBytes
    }
    assert.deepEqual(sums, [readableBytes, writableBytes])
  }

  private use(chain: DescriptorChain): void {
    const { bytes, scratch, scratchBytes, fileFd } = this
    const lenBytes = bytes.below(SCRATCH_BYTES + 1)
    const skipBytes = bytes.oneIn(4) ? bytes.edge32() : bytes.below(64)
    const wholeWords = skipBytes - (skipBytes % 4)
    const readable = skipBytes + lenBytes <= chain.readableBytes
    const writable = skipBytes + lenBytes <= chain.writableBytes
    switch (bytes.below(6)) {
      case 0:
        assert.equal(chain.read(skipBytes, lenBytes, scratchBytes, 0), readable)
        break
      case 1:
        assert.equal(
          chain.readWords(wholeWords, lenBytes, scratch, scratchBytes),
          wholeWords + lenBytes <= chain.readableBytes,
        )
        break
      case 2:
        assert.equal(chain.write(skipBytes, lenBytes, scratchBytes, 0), writable)
        break
      case 3:
        assert.equal(chain.writeWords(lenBytes, scratch, scratchBytes), lenBytes <= chain.writableBytes)
        break
      case 4:
        assert.ok(
          chain.readFromFile(skipBytes, lenBytes, fileFd, bytes.u16(), 0) <=
            Math.max(0, chain.writableBytes - skipBytes),
        )
        break
      default:
        assert.ok(
          chain.writeToFile(skipBytes, Math.min(lenBytes, 512), fileFd, bytes.below(FILE_BYTES), 0) <= 512,
        )
    }
  }

  private pokeDescriptor(index: number, descriptor: Uint32Array): void {
    this.poke(16 * index, descriptor)
  }

  private poke(gpa: number, words: Uint8Array | Uint16Array | Uint32Array): void {
    this.views[0].set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), gpa)
  }
}
