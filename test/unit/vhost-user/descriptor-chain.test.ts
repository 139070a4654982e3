import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DescriptorChain, GuestMemory } from 'vhost-user-ts'
import type { Buffer as Segment } from 'vhost-user-ts/frontend'
import { tempDir } from '../../support/host/temp-dir.js'
import { type Random, seeded } from '../../support/random.js'
import { GIB, guestRam, KIB, MIB, patternOf, peek, poke } from '../../support/rings/guest-ram.js'
import { makeRing, type Ring } from '../../support/rings/ring.js'

/** The address where buffers of these tests begin, behind the rings. */
const DATA = 128 * KIB

const EBADF = 9
const EFAULT = 14

/** Puts `bytes` into `segments`, one after the other. */
function fill(memory: GuestMemory, segments: readonly Segment[], bytes: Uint8Array): void {
  let at = 0
  for (const { gpa, lenBytes } of segments) {
    poke(memory, gpa, bytes.subarray(at, at + lenBytes))
    at += lenBytes
  }
}

function gather(memory: GuestMemory, segments: readonly Segment[]): Uint8Array {
  return Buffer.concat(segments.map(({ gpa, lenBytes }) => peek(memory, gpa, lenBytes)))
}

function popChain(ring: Ring, readable: readonly Segment[], writable: readonly Segment[]): DescriptorChain {
  ring.driver.submit(readable, writable)
  const chain = ring.device.pop()
  if (chain === undefined) throw new Error(`bad chain: ${ring.device.fault}`)
  return chain
}

function giveBack(ring: Ring, chain: DescriptorChain): void {
  chain.complete(0)
  ring.driver.reap(0)
}

/** Returns the result of readWords as bytes; undefined when it refuses. */
function readWords(chain: DescriptorChain, skipBytes: number, lenBytes: number): Uint8Array | undefined {
  const words = new Int32Array(Math.ceil(lenBytes / 4))
  const bytes = new Uint8Array(words.buffer)
  return chain.readWords(skipBytes, lenBytes, words, bytes) ? bytes.subarray(0, lenBytes) : undefined
}

function read(chain: DescriptorChain, skipBytes: number, lenBytes: number): Uint8Array | undefined {
  const out = new Uint8Array(lenBytes + 3)
  return chain.read(skipBytes, lenBytes, out, 3) ? out.subarray(3) : undefined
}

/** Bytes whose buffer can be seen as words, too. */
function asWords(bytes: Uint8Array): [Int32Array, Uint8Array] {
  const words = new Int32Array(Math.ceil(bytes.length / 4))
  const copy = new Uint8Array(words.buffer)
  copy.set(bytes)
  return [words, copy]
}

/** Checks that every part of a readable stream over `segments` reads as what was put there, by both ways. */
function checkReads(t: Test, ring: Ring, memory: GuestMemory, segments: readonly Segment[]): void {
  const total = segments.reduce((sum, { lenBytes }) => sum + lenBytes, 0)
  const stream = patternOf(total)
  fill(memory, segments, stream)
  const chain = popChain(ring, segments, [])
  t.equal(chain.readableBytes, total)
  for (let skip = 0; skip <= total; skip += 4) {
    for (let len = 0; skip + len <= total; len++) {
      const want = stream.subarray(skip, skip + len)
      if (!isEqual(readWords(chain, skip, len), want)) t.fail(`words from ${skip}, ${len} bytes`)
      if (!isEqual(read(chain, skip, len), want)) t.fail(`bytes from ${skip}, ${len} bytes`)
    }
    t.equal(readWords(chain, skip, total - skip + 1), undefined, `one byte too many from ${skip}`)
    t.equal(read(chain, skip, total - skip + 1), undefined)
  }
  giveBack(ring, chain)
}

/** Checks that every length written to the front of `segments` lands there and touches nothing else. */
function checkWrites(t: Test, ring: Ring, memory: GuestMemory, segments: readonly Segment[]): void {
  const total = segments.reduce((sum, { lenBytes }) => sum + lenBytes, 0)
  const blank = new Uint8Array(total).fill(0xee)
  const chain = popChain(ring, [], segments)
  t.equal(chain.writableBytes, total)
  for (let len = 0; len <= total; len++) {
    const [words, bytes] = asWords(patternOf(len))
    const want = Uint8Array.from(blank)
    want.set(bytes.subarray(0, len))
    fill(memory, segments, blank)
    if (!chain.writeWords(len, words, bytes)) t.fail(`${len} bytes as words refused`)
    if (!isEqual(gather(memory, segments), want)) t.fail(`${len} bytes as words`)
    const skip = total - len
    fill(memory, segments, blank)
    if (!chain.write(skip, len, bytes, 0)) t.fail(`${len} bytes refused`)
    want.set(blank)
    want.set(bytes.subarray(0, len), skip)
    if (!isEqual(gather(memory, segments), want)) t.fail(`${len} bytes behind ${skip}`)
  }
  const [words, bytes] = asWords(patternOf(total + 1))
  t.notOk(chain.writeWords(total + 1, words, bytes), 'one byte too many')
  t.notOk(chain.write(1, total, bytes, 0))
  giveBack(ring, chain)
}

function isEqual(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0
}

function checkBoth(t: Test, ring: Ring, memory: GuestMemory, segments: readonly Segment[]): void {
  checkReads(t, ring, memory, segments)
  checkWrites(t, ring, memory, segments)
}

t.test('a struct in one aligned segment is read and written', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  checkBoth(t, makeRing(t, memory), memory, [{ gpa: DATA, lenBytes: 40 }])
})

t.test('segments at odd addresses and of odd lengths are read and written', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  const ring = makeRing(t, memory)
  for (const odd of [1, 2, 3]) {
    checkBoth(t, ring, memory, [{ gpa: DATA + odd, lenBytes: 40 }])
    checkBoth(t, ring, memory, [
      { gpa: DATA, lenBytes: odd },
      { gpa: DATA + 64, lenBytes: 16 - odd },
      { gpa: DATA + 128 + odd, lenBytes: 24 },
    ])
  }
})

t.test('a struct with every byte in a segment of its own is read and written', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  const segments = Array.from({ length: 16 }, (_, n) => ({
    gpa: DATA + 16 * (16 - n) + (n % 4),
    lenBytes: 1,
  }))
  checkBoth(t, makeRing(t, memory), memory, segments)
})

t.test('a segment that crosses two regions is read and written', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  const ring = makeRing(t, memory)
  for (const before of [1, 3, 4, 20]) checkBoth(t, ring, memory, [{ gpa: MIB - before, lenBytes: 40 }])
})

t.test('a segment that crosses two windows is read and written, above and below 4 GiB', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: 3 * GIB }, { gpa: 4 * GIB, sizeBytes: 3 * GIB })
  const ring = makeRing(t, memory)
  for (const border of [GIB, 2 * GIB, 5 * GIB]) {
    for (const before of [2, 4, 20]) checkBoth(t, ring, memory, [{ gpa: border - before, lenBytes: 40 }])
  }
})

t.test('segments above 4 GiB are not taken for those below', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: 2 * GIB })
  const ring = makeRing(t, memory)
  poke(memory, DATA, new Uint8Array(64).fill(0x55))
  checkBoth(t, ring, memory, [
    { gpa: 4 * GIB + DATA, lenBytes: 40 },
    { gpa: 5 * GIB + DATA, lenBytes: 8 },
  ])
  t.same(peek(memory, DATA, 64), new Uint8Array(64).fill(0x55))
})

t.test('a struct in the last bytes of guest memory is read and written', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: 4096 })
  const ring = makeRing(t, memory)
  checkBoth(t, ring, memory, [{ gpa: MIB - 40, lenBytes: 40 }])
  checkBoth(t, ring, memory, [{ gpa: 4 * GIB + 4096 - 6, lenBytes: 6 }])
  checkBoth(t, ring, memory, [{ gpa: 4 * GIB + 4096 - 2, lenBytes: 2 }])
})

t.test('streams that are split anywhere read and write the same', async (t) => {
  const random = seeded(t)
  const memory = guestRam(t, { gpa: 0, sizeBytes: GIB + MIB }, { gpa: GIB + MIB, sizeBytes: MIB })
  const ring = makeRing(t, memory)
  for (let n = 0; n < 60; n++) checkBoth(t, ring, memory, randomSegments(random))
})

/** Up to 16 segments of up to 11 bytes that do not overlap, some of them across a window's or region's border. */
function randomSegments(random: Random): Segment[] {
  const borders = [GIB, GIB + MIB, DATA]
  const places = borders.flatMap((border) => Array.from({ length: 8 }, (_, n) => border - 64 + 16 * n))
  return Array.from({ length: 1 + random.below(16) }, () => {
    const [place] = places.splice(random.below(places.length), 1)
    return { gpa: place + random.below(5), lenBytes: 1 + random.below(11) }
  })
}

t.test('readable and writable bytes of one chain are two streams', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  const chain = popChain(
    makeRing(t, memory),
    [{ gpa: DATA, lenBytes: 8 }],
    [
      { gpa: DATA + 64, lenBytes: 4 },
      { gpa: DATA + 128, lenBytes: 4 },
    ],
  )
  poke(memory, DATA, patternOf(8))
  t.same(read(chain, 0, 8), patternOf(8))
  t.equal(read(chain, 0, 9), undefined, 'writable bytes are not read')
  t.ok(chain.write(0, 8, patternOf(8, 100), 0))
  t.same(peek(memory, DATA, 8), patternOf(8), 'readable bytes are not written')
  t.same(
    gather(memory, [
      { gpa: DATA + 64, lenBytes: 4 },
      { gpa: DATA + 128, lenBytes: 4 },
    ]),
    Buffer.from(patternOf(8, 100)),
  )
})

t.test('files are read and written straight from and to segments, wherever they are split', async (t) => {
  const memory = guestRam(
    t,
    { gpa: 0, sizeBytes: MIB },
    { gpa: MIB, sizeBytes: MIB },
    { gpa: 4 * GIB, sizeBytes: 2 * GIB },
  )
  const ring = makeRing(t, memory)
  const path = join(tempDir(t), 'file')
  const segments = [
    { gpa: DATA + 1, lenBytes: 7 },
    { gpa: MIB - 100, lenBytes: 201 },
    { gpa: 5 * GIB - 3, lenBytes: 6 },
    { gpa: 4 * GIB + DATA, lenBytes: 1000 },
  ]
  const total = 7 + 201 + 6 + 1000
  fill(memory, segments, patternOf(total))
  writeFileSync(path, '')
  const fd = openSync(path, 'r+')
  const source = popChain(ring, segments, [])
  t.equal(source.writeToFile(5, total - 5, fd, 10, 0), total - 5)
  t.same(readFileSync(path), Buffer.concat([new Uint8Array(10), patternOf(total).subarray(5)]))
  giveBack(ring, source)

  fill(memory, segments, new Uint8Array(total).fill(0xee))
  const target = popChain(ring, [], segments)
  t.equal(target.readFromFile(3, total - 3, fd, 15, 0), total - 10, 'short at the end of the file')
  const want = Buffer.concat([
    Buffer.from([0xee, 0xee, 0xee]),
    patternOf(total).subarray(10),
    new Uint8Array(7).fill(0xee),
  ])
  t.same(gather(memory, segments), want)
  t.equal(target.readFromFile(0, 10, fd, MIB, 0), 0, 'behind the end of the file')
  closeSync(fd)
  t.equal(target.readFromFile(0, 10, fd, 0, 0), -EBADF)
})

t.test('a transfer may have more segments than one system call takes', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: 4 * MIB })
  const ring = makeRing(t, memory, { size: 256 })
  const path = join(tempDir(t), 'file')
  // Not in order, so that no two of them can be joined; one chain has at most as many as the queue.
  const segments = Array.from({ length: 255 }, (_, n) => ({
    gpa: MIB + 4096 * ((n * 7) % 255),
    lenBytes: 4001,
  }))
  const bytes = patternOf(255 * 4001)
  fill(memory, segments, bytes)
  writeFileSync(path, '')
  const fd = openSync(path, 'r+')
  const chain = popChain(ring, segments, [])
  t.equal(chain.writeToFile(0, bytes.length, fd, 0, 0), bytes.length)
  closeSync(fd)
  t.ok(Buffer.compare(readFileSync(path), bytes) === 0)
})

t.test('a region that is removed while its chain is held causes an error, not a crash', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB, uva: 8 * MIB })
  const chain = popChain(
    makeRing(t, memory),
    [{ gpa: MIB + 64, lenBytes: 64 }],
    [{ gpa: MIB + 256, lenBytes: 64 }],
  )
  memory.remove(MIB, MIB, 8 * MIB)
  const [words, bytes] = asWords(patternOf(64))
  t.notOk(chain.readWords(0, 64, words, bytes))
  t.notOk(chain.read(0, 64, bytes, 0))
  t.notOk(chain.writeWords(64, words, bytes))
  t.notOk(chain.write(0, 64, bytes, 0))
  t.equal(chain.readFromFile(0, 64, 0, 0, 0), -EFAULT)
  t.equal(chain.writeToFile(0, 64, 1, 0, 0), -EFAULT)
})
