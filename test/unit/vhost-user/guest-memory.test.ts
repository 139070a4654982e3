import { openSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { GuestMemory } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { checkNoFdLeak, eventfd, ok } from '../../support/device/descriptors.js'
import { GIB, guestRam, MIB, patternOf, peek, poke, UVA_BASE } from '../../support/rings/guest-ram.js'

function countMappings(): number {
  return readFileSync('/proc/self/maps', 'utf8').match(/memfd:guest-memory/g)?.length ?? 0
}

/** Tries to add a region of `fd`, which it closes, and checks that this is refused and changes nothing. */
function checkRefused(
  t: Test,
  memory: GuestMemory,
  fd: number,
  [gpa, sizeBytes, uva, fileOffsetBytes]: readonly [number, number, number, number],
  name: string,
): void {
  const before = [memory.regionCount, countMappings()]
  t.throws(() => memory.add(fd, gpa, sizeBytes, uva, fileOffsetBytes), { code: 'BAD_MEMORY' }, name)
  t.same([memory.regionCount, countMappings()], before, `${name}: nothing is mapped`)
  native.close(fd)
}

const memfd = (sizeBytes: number) => ok(native.memfdCreate(sizeBytes))

t.test('a region is mapped, and its descriptor stays the caller’s', async (t) => {
  checkNoFdLeak(t, () => {
    const memory = new GuestMemory()
    const fd = memfd(MIB)
    memory.add(fd, 0, MIB, UVA_BASE, 0)
    t.equal(native.close(fd), 0)
    poke(memory, MIB - 4, patternOf(4))
    t.same(peek(memory, MIB - 4, 4), patternOf(4))
    memory.destroy()
  })
})

t.test('a region begins at its offset in the file, on no page border either', async (t) => {
  const memory = new GuestMemory()
  t.teardown(() => memory.destroy())
  const fd = memfd(MIB)
  memory.add(fd, 0, MIB, UVA_BASE, 0)
  poke(memory, 0x1230, patternOf(16))
  const other = new GuestMemory()
  t.teardown(() => other.destroy())
  other.add(fd, 0, 0x2000, UVA_BASE, 0x1230)
  t.same(peek(other, 0, 16), patternOf(16))
  native.close(fd)
})

t.test('impossible regions are refused', async (t) => {
  const memory = guestRam(t, { gpa: 16 * MIB, sizeBytes: 16 * MIB })
  const uva = UVA_BASE + GIB
  const far = Number.MAX_SAFE_INTEGER
  checkNoFdLeak(t, () => {
    checkRefused(t, memory, memfd(MIB), [0, 0, uva, 0], 'empty')
    checkRefused(t, memory, memfd(MIB), [-1, MIB, uva, 0], 'guest address beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, -1, uva, 0], 'size beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, MIB, -1, 0], 'user address beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, MIB, uva, -1], 'file offset beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [far - MIB + 1, MIB, uva, 0], 'guest end beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, MIB, far - MIB + 1, 0], 'user end beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, MIB, uva, far - MIB + 1], 'file end beyond 2^53')
    checkRefused(t, memory, memfd(MIB), [0, MIB + 1, uva, 0], 'file one byte short')
    checkRefused(t, memory, memfd(MIB), [0, MIB, uva, 4096], 'file short by its offset')
    checkRefused(t, memory, memfd(MIB), [0, MIB, uva, 2 * MIB], 'offset behind the end of the file')
    checkRefused(t, memory, memfd(0), [0, 4096, uva, 0], 'empty file')
    checkRefused(t, memory, eventfd(), [0, 4096, uva, 0], 'an eventfd')
    checkRefused(t, memory, openSync('/dev/zero', 'r+'), [0, 4096, uva, 0], 'a device')
    checkRefused(t, memory, openSync('/', 'r'), [0, 1, uva, 0], 'a directory')
    checkRefused(t, memory, openSync('/proc/self/exe', 'r'), [0, 4096, uva, 0], 'a file that is not writable')
    checkRefused(t, memory, memfd(MIB), [16, 4096, uva, 8], 'a file offset that is aligned otherwise')
    for (const odd of [1, 4, 8]) {
      // Its words would not be those of its windows.
      checkRefused(t, memory, memfd(MIB), [odd, 4096, uva, odd], `guest address ${odd}`)
    }
  })
})

t.test('regions may touch but not overlap, in guest addresses', async (t) => {
  const memory = guestRam(t, { gpa: 16 * MIB, sizeBytes: 16 * MIB })
  const uva = UVA_BASE + GIB
  const overlapping: [number, number][] = [
    [16, 16],
    [15, 2],
    [31, 2],
    [20, 1],
    [0, 64],
  ]
  for (const [atMib, sizeMib] of overlapping) {
    const region = [atMib * MIB, sizeMib * MIB, uva, 0] as const
    checkRefused(t, memory, memfd(sizeMib * MIB), region, `${sizeMib} MiB at ${atMib} MiB`)
  }
  const fd = memfd(16 * MIB)
  memory.add(fd, 0, 16 * MIB, uva, 0)
  memory.add(fd, 32 * MIB, 16 * MIB, uva + GIB, 0)
  native.close(fd)
  t.equal(memory.regionCount, 3)
})

t.test('regions may touch but not overlap, in user addresses', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: 16 * MIB, uva: UVA_BASE })
  for (const uva of [UVA_BASE, UVA_BASE + 16 * MIB - 1, UVA_BASE - MIB + 1]) {
    checkRefused(t, memory, memfd(MIB), [GIB, MIB, uva, 0], `at ${uva - UVA_BASE}`)
  }
  const fd = memfd(MIB)
  memory.add(fd, GIB, MIB, UVA_BASE + 16 * MIB, 0)
  memory.add(fd, 2 * GIB, MIB, UVA_BASE - MIB, 0)
  native.close(fd)
  t.equal(memory.regionCount, 3)
})

t.test('a removed region takes its windows and rings with it, and no others', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  const kept = memory.window(0, 4)
  const gone = memory.window(MIB, 4)
  const keptRing = memory.openRing(0x1000, 64)
  const goneRing = memory.openRing(MIB, 64)
  memory.remove(MIB, MIB, UVA_BASE + MIB)
  t.equal(gone?.bytes.length, 0)
  t.equal(gone?.words.length, 0)
  t.equal(goneRing?.byteLength, 0)
  t.equal(kept?.bytes.length, MIB)
  t.equal(keptRing?.byteLength, 64)
  t.notOk(memory.contains(MIB, 1))
  t.equal(memory.window(MIB, 1), undefined)
  t.equal(memory.gpaOfUva(UVA_BASE + MIB, 1), -1)
  t.equal(memory.regionCount, 1)
})

t.test('a region is removed only by its exact address, size and user address', async (t) => {
  const memory = guestRam(t, { gpa: MIB, sizeBytes: MIB })
  const uva = UVA_BASE + MIB
  t.throws(() => memory.remove(MIB, MIB - 4096, uva), { code: 'BAD_MEMORY' })
  t.throws(() => memory.remove(MIB + 4096, MIB, uva), { code: 'BAD_MEMORY' })
  t.throws(() => memory.remove(MIB, MIB, uva + 4096), { code: 'BAD_MEMORY' })
  t.throws(() => memory.remove(-1, MIB, uva), { code: 'BAD_MEMORY' })
  t.ok(memory.contains(MIB, MIB))
  const window = memory.window(MIB, 1)
  memory.remove(MIB, MIB, uva)
  t.equal(window?.bytes.length, 0)
  t.throws(() => memory.remove(MIB, MIB, uva), { code: 'BAD_MEMORY' }, 'a second time')
})

t.test('an address whose region was removed can be mapped anew', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  poke(memory, 0, patternOf(16))
  memory.remove(0, MIB, UVA_BASE)
  const fd = memfd(2 * MIB)
  memory.add(fd, 0, 2 * MIB, UVA_BASE, 0)
  native.close(fd)
  t.same(peek(memory, 0, 16), new Uint8Array(16), 'the new file, not the old one')
  t.ok(memory.contains(0, 2 * MIB))
})

t.test('destroying a memory detaches every view and unmaps every region', async (t) => {
  const before = countMappings()
  const memory = new GuestMemory()
  for (let n = 0; n < 3; n++) {
    const fd = memfd(MIB)
    memory.add(fd, n * 2 * MIB, MIB, UVA_BASE + n * 2 * MIB, 0)
    native.close(fd)
  }
  t.equal(countMappings(), before + 3)
  const windows = [0, 2, 4].map((atMib) => memory.window(atMib * MIB, 1))
  memory.destroy()
  t.same(
    windows.map((window) => window?.bytes.length),
    [0, 0, 0],
  )
  t.equal(countMappings(), before)
})

t.test('a user address translates only where all of its range lies in one region', async (t) => {
  const memory = guestRam(
    t,
    { gpa: 0, sizeBytes: MIB, uva: UVA_BASE },
    // Touches in guest addresses, not in user addresses.
    { gpa: MIB, sizeBytes: MIB, uva: UVA_BASE + GIB },
    // Touches the first in user addresses, not in guest addresses.
    { gpa: 8 * GIB, sizeBytes: MIB, uva: UVA_BASE + MIB },
  )
  t.equal(memory.gpaOfUva(UVA_BASE, MIB), 0)
  t.equal(memory.gpaOfUva(UVA_BASE + GIB + 16, 16), MIB + 16)
  t.equal(memory.gpaOfUva(UVA_BASE + MIB + 0x40, 16), 8 * GIB + 0x40)
  t.equal(memory.gpaOfUva(UVA_BASE + MIB - 16, 16), MIB - 16)
  t.equal(memory.gpaOfUva(UVA_BASE + MIB - 16, 17), -1, 'across two regions that touch')
  t.equal(memory.gpaOfUva(UVA_BASE - 1, 1), -1)
  t.equal(memory.gpaOfUva(UVA_BASE + 2 * MIB, 1), -1)
})

t.test('a range may cross regions that touch, but no hole', async (t) => {
  const memory = guestRam(
    t,
    { gpa: MIB, sizeBytes: MIB },
    { gpa: 2 * MIB, sizeBytes: MIB },
    { gpa: 4 * MIB, sizeBytes: MIB },
  )
  t.ok(memory.contains(MIB, 2 * MIB))
  t.ok(memory.contains(2 * MIB - 1, 2))
  t.notOk(memory.contains(MIB, 2 * MIB + 1), 'one byte into the hole')
  t.notOk(memory.contains(3 * MIB - 1, MIB + 2), 'across the hole')
  t.notOk(memory.contains(MIB - 1, 2), 'from before the first')
  t.notOk(memory.contains(5 * MIB, 1), 'behind the last')
  t.ok(memory.contains(4 * MIB, MIB))
  t.notOk(memory.contains(0xffff_ffff_ffff, 0xffff_ffff))
})

t.test('a window holds its whole range, or there is none', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  t.equal(memory.window(MIB - 8, 8)?.gpa, 0)
  t.equal(memory.window(MIB, 8)?.gpa, MIB)
  t.equal(memory.window(MIB - 8, 9), undefined, 'across two regions')
  t.equal(memory.window(2 * MIB - 8, 9), undefined, 'past the end')
  t.equal(memory.window(2 * MIB, 1), undefined, 'outside')
})

t.test('rings have views of their own, closed one by one', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  const first = memory.openRing(64, 64)
  const second = memory.openRing(64, 64)
  if (first === undefined || second === undefined) throw new Error('no ring')
  new Uint8Array(first).set(patternOf(64))
  t.same(new Uint8Array(second), patternOf(64), 'both show the same memory')
  memory.closeRing(64, first)
  t.equal(first.byteLength, 0)
  t.equal(second.byteLength, 64)
  t.equal(memory.openRing(MIB - 8, 16), undefined, 'across two regions')
  t.equal(memory.openRing(2 * MIB - 8, 9), undefined)
  t.equal(memory.openRing(4 * MIB, 1), undefined)
})

t.test('6 GiB across the hole below 4 GiB: windows and addresses above 4 GiB are their own', async (t) => {
  // As QEMU lays out 6 GiB: 3 GiB below the hole, the rest from 4 GiB on.
  const memory = guestRam(t, { gpa: 0, sizeBytes: 3 * GIB }, { gpa: 4 * GIB, sizeBytes: 5 * GIB })
  const places = [0, GIB - 4, GIB, 3 * GIB - 4, 4 * GIB, 5 * GIB - 4, 5 * GIB, 8 * GIB, 9 * GIB - 4]
  places.forEach((gpa, n) => {
    poke(memory, gpa, Uint8Array.of(n + 1, 0, 0, 0))
  })
  places.forEach((gpa, n) => {
    const window = memory.window(gpa, 4)
    t.equal(window?.bytes[gpa - window.gpa], n + 1, `byte at ${gpa / GIB} GiB`)
    t.equal(window?.words[(gpa - window.gpa) / 4], n + 1, `word at ${gpa / GIB} GiB`)
  })
  t.equal(memory.window(GIB - 4, 8), undefined, 'across two windows of one region')
  t.ok(memory.contains(GIB - 4, 8))
  t.equal(memory.window(8 * GIB, GIB)?.bytes.length, GIB)
  t.notOk(memory.contains(3 * GIB, 1), 'the hole')
  t.notOk(memory.contains(9 * GIB, 1))
  t.equal(memory.window(9 * GIB - 4, 5), undefined)
})

t.test('a region that ends in the middle of a window has a short last window', async (t) => {
  const memory = guestRam(t, { gpa: 4 * GIB, sizeBytes: GIB + 4096 })
  const last = memory.window(5 * GIB, 6)
  t.equal(last?.bytes.length, 4096)
  t.equal(last?.words.length, 1024)
  t.equal(memory.window(5 * GIB + 4094, 4), undefined)
})

t.test('512 regions are mapped, one more is refused', async (t) => {
  const memory = new GuestMemory()
  t.teardown(() => memory.destroy())
  const fd = memfd(4096)
  for (let n = 0; n < 512; n++) memory.add(fd, n * 8192, 4096, UVA_BASE + n * 8192, 0)
  t.ok(memory.contains(511 * 8192, 4096))
  t.throws(() => memory.add(fd, 512 * 8192, 4096, UVA_BASE + 512 * 8192, 0), { code: 'BAD_MEMORY' })
  native.close(fd)
  t.equal(memory.regionCount, 512)
})
