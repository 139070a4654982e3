import t, { type Test } from 'tap'
import type { DescriptorChain, GuestMemory } from 'vhost-user-ts'
import type { RingLayout } from '#vhost-user/rings/ring-layout'
import { SplitVirtqueue } from '#vhost-user/rings/split-virtqueue'
import { guestRam, KIB, MIB, poke } from '../../support/rings/guest-ram.js'
import {
  INDIRECT,
  layoutAt,
  makeRing,
  NEXT,
  offer,
  type Ring,
  tableOf,
  WRITE,
} from '../../support/rings/ring.js'

const DATA = 128 * KIB
const TABLE = 64 * KIB
/** Longer than a queue waits before it takes an index as broken. */
const DOUBT_MS = 1000

const ram = (t: Test) => guestRam(t, { gpa: 0, sizeBytes: MIB })
const buffer = { gpa: DATA, lenBytes: 16 }

function mustPop({ device }: Ring): DescriptorChain {
  const chain = device.pop()
  if (chain === undefined) throw new Error(`bad chain: ${device.fault}`)
  return chain
}

/** Serves `count` requests, one after the other. */
function serve(ring: Ring, count: number): void {
  for (let n = 0; n < count; n++) {
    ring.driver.submit([], [buffer])
    ring.device.complete(mustPop(ring), n)
    ring.driver.reap(0)
  }
}

/** Returns the number of waiting requests, after the time that an impossible index is given. */
function lastingly({ device }: Ring): number {
  const endMs = performance.now() + DOUBT_MS
  let waiting = device.available()
  while (waiting === 0 && performance.now() < endMs) waiting = device.available()
  return waiting
}

const segmentsOf = ({ segments, segmentCount }: DescriptorChain) => [
  ...segments.subarray(0, 2 * segmentCount),
]

t.test('a chain is taken apart into readable and writable segments, in order', async (t) => {
  const ring = makeRing(t, ram(t))
  const head = ring.driver.submit(
    [
      { gpa: DATA, lenBytes: 40 },
      { gpa: DATA + 0x100, lenBytes: 7 },
    ],
    [{ gpa: DATA + 0x200, lenBytes: 16 }],
  )
  t.equal(ring.device.available(), 1)
  const chain = mustPop(ring)
  t.match(chain, { head, readableSegments: 2, segmentCount: 3, readableBytes: 47, writableBytes: 16 })
  t.same(segmentsOf(chain), [DATA, 40, DATA + 0x100, 7, DATA + 0x200, 16])
  t.equal(ring.device.available(), 0)
})

t.test('empty buffers are left out', async (t) => {
  const ring = makeRing(t, ram(t))
  const empty = { gpa: 2 ** 40, lenBytes: 0 }
  ring.driver.submit([empty, buffer, empty], [empty, buffer])
  t.match(mustPop(ring), { readableSegments: 1, segmentCount: 2, readableBytes: 16, writableBytes: 16 })
  ring.driver.submit([empty], [])
  t.match(mustPop(ring), { readableSegments: 0, segmentCount: 0, readableBytes: 0, writableBytes: 0 })
})

t.test('an indirect table may lie anywhere, behind descriptors of the main table too', async (t) => {
  for (const gpa of [TABLE, TABLE + 1, TABLE + 6]) {
    const memory = ram(t)
    const ring = makeRing(t, memory, { indirect: true })
    const table = [
      { gpa: DATA + 0x100, lenBytes: 8, flags: NEXT, next: 2 },
      { gpa: 0, lenBytes: 0 },
      { gpa: DATA + 0x200, lenBytes: 24, flags: WRITE },
    ]
    poke(memory, gpa, tableOf(table))
    offer(ring, [
      { ...buffer, flags: NEXT, next: 1 },
      { gpa, lenBytes: 48, flags: INDIRECT },
    ])
    const chain = mustPop(ring)
    t.same(segmentsOf(chain), [DATA, 16, DATA + 0x100, 8, DATA + 0x200, 24])
    t.match(chain, { readableBytes: 24, writableBytes: 24 })
  }
})

t.test('an indirect table across two regions is one table', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  const ring = makeRing(t, memory, { indirect: true })
  const gpa = MIB - 24
  poke(
    memory,
    gpa,
    tableOf([
      { ...buffer, flags: NEXT, next: 1 },
      { ...buffer, flags: WRITE },
    ]),
  )
  offer(ring, [{ gpa, lenBytes: 32, flags: INDIRECT }])
  t.match(mustPop(ring), { readableBytes: 16, writableBytes: 16 })
})

t.test('a WRITE flag beside INDIRECT is ignored (virtio 1.3, 2.7.5.3.2)', async (t) => {
  const memory = ram(t)
  const ring = makeRing(t, memory, { indirect: true })
  poke(memory, TABLE, tableOf([buffer]))
  offer(ring, [{ gpa: TABLE, lenBytes: 16, flags: INDIRECT | WRITE }])
  t.match(mustPop(ring), { readableBytes: 16, writableBytes: 0 })
})

for (const indirect of [false, true]) {
  t.test(`a chain as long as the queue is taken, ${indirect ? 'indirect' : 'direct'}`, async (t) => {
    const ring = makeRing(t, ram(t), { size: 64, indirect })
    const count = 64
    ring.driver.submit(Array(count / 2).fill(buffer), Array(count / 2).fill(buffer))
    t.match(mustPop(ring), { segmentCount: count, readableSegments: count / 2 })
  })
}

t.test('a queue of one descriptor works', async (t) => {
  const ring = makeRing(t, ram(t), { size: 1 })
  serve(ring, 5)
  t.equal(ring.device.lastAvail, 5)
})

t.test('requests are given back in any order, each with its own length', async (t) => {
  const ring = makeRing(t, ram(t))
  const heads = [0, 1, 2].map(() => ring.driver.submit([], [buffer]))
  const chains = heads.map(() => mustPop(ring))
  t.equal(ring.device.inFlightCount, 3)
  chains[2].complete(30)
  chains[0].complete(0)
  chains[1].complete(0xffff_ffff)
  t.equal(ring.device.inFlightCount, 0)
  t.same(
    [ring.driver.reap(0), ring.driver.reap(0), ring.driver.reap(0)],
    [
      { head: heads[2], writtenBytes: 30 },
      { head: heads[0], writtenBytes: 0 },
      { head: heads[1], writtenBytes: 0xffff_ffff },
    ],
  )
})

t.test('indices wrap at 65536, with a request in flight across the wrap', async (t) => {
  const ring = makeRing(t, ram(t), { size: 4 })
  ring.driver.submit([], [buffer])
  const held = mustPop(ring)
  serve(ring, 65537)
  t.equal(ring.device.lastAvail, 2)
  held.complete(1)
  t.equal(ring.driver.used[1], 2)
  t.match(ring.driver.reap(0), { writtenBytes: 1 })
  t.equal(ring.device.available(), 0)
})

t.test('a queue that starts anew takes the indices up where they were', async (t) => {
  const memory = ram(t)
  const first = makeRing(t, memory)
  serve(first, 7)
  first.device.close()
  const second = new SplitVirtqueue(memory, first.layout, false, false, first.device.lastAvail)
  t.teardown(() => second.close())
  const head = first.driver.submit([], [buffer])
  t.equal(second.available(), 1)
  const chain = second.pop()
  t.equal(chain?.head, head)
  chain?.complete(3)
  t.same(first.driver.reap(0), { head, writtenBytes: 3 }, 'behind the seven that are there')
  t.equal(second.lastAvail, 8)
})

t.test('a full queue is served; an available index beyond that breaks it for good', async (t) => {
  const ring = makeRing(t, ram(t), { size: 4 })
  for (let n = 0; n < 4; n++) ring.driver.submit([], [buffer])
  t.equal(ring.device.available(), 4)
  for (let n = 0; n < 4; n++) mustPop(ring).complete(0)

  ring.driver.avail[1] = 4 + 5
  t.equal(lastingly(ring), -1, 'said once')
  t.ok(ring.device.broken)
  t.equal(ring.device.available(), 0, 'and never again')
  ring.driver.avail[1] = 4 + 1
  t.equal(ring.device.available(), 0, 'an index that looks sound again does not mend it')
  t.notOk(ring.device.armKick())
})

t.test('an available index that goes backwards breaks the queue', async (t) => {
  const ring = makeRing(t, ram(t), { size: 4 })
  serve(ring, 2)
  ring.driver.avail[1] = 1
  t.equal(lastingly(ring), -1)
})

t.test('an available index that is stored byte by byte breaks nothing', async (t) => {
  const ring = makeRing(t, ram(t), { size: 4 })
  serve(ring, 0xfe)
  for (let n = 0; n < 2; n++) ring.driver.submit([], [buffer])
  const whole = ring.driver.avail[1]
  t.equal(whole, 0x100)
  ring.driver.avail[1] = whole & 0xff
  t.equal(ring.device.available(), 0, 'half of it has arrived')
  t.ok(ring.device.armKick(), 'which is looked at again')
  ring.driver.avail[1] = whole
  t.equal(ring.device.available(), 2)
  t.notOk(ring.device.broken)
})

t.test(
  'closing detaches the views of the ring, also when called twice and after its region was removed',
  async (t) => {
    const memory = ram(t)
    const opened = recordOpened(memory)
    const queue = new SplitVirtqueue(memory, layoutAt(0, 16), false, false, 0)
    queue.close()
    t.same(
      opened.map((view) => view.byteLength),
      [0, 0, 0],
    )
    queue.close()
    const other = guestRam(t, { gpa: 0, sizeBytes: MIB, uva: 0 })
    const late = new SplitVirtqueue(other, layoutAt(0, 16), false, false, 0)
    other.remove(0, MIB, 0)
    late.close()
  },
)

const misplaced: [string, Partial<RingLayout>][] = [
  ['descriptor table not aligned to 16', { descGpa: 8 }],
  ['available ring not aligned to 2', { availGpa: 0x4001 }],
  ['used ring not aligned to 4', { usedGpa: 0x6002 }],
  ['descriptor table outside', { descGpa: MIB }],
  ['descriptor table one descriptor over the end', { descGpa: MIB - 16 * 15 }],
  ['available ring two bytes over the end', { availGpa: MIB - 6 - 2 * 16 + 2 }],
  ['used ring four bytes over the end', { usedGpa: MIB - 6 - 8 * 16 + 2 }],
]

for (const [name, change] of misplaced) {
  t.test(`rings are refused: ${name}`, async (t) => {
    const memory = ram(t)
    const opened = recordOpened(memory)
    const layout = { ...layoutAt(0, 16), ...change }
    t.throws(() => new SplitVirtqueue(memory, layout, false, false, 0), { code: 'BAD_RING' })
    t.same(
      opened.filter((view) => view.byteLength > 0),
      [],
      'no view is left behind',
    )
  })
}

t.test('a ring across two regions is refused though both are guest memory', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: MIB, sizeBytes: MIB })
  for (const change of [{ descGpa: MIB - 16 }, { availGpa: MIB - 2 }, { usedGpa: MIB - 4 }]) {
    const layout = { ...layoutAt(0, 16), ...change }
    t.throws(() => new SplitVirtqueue(memory, layout, false, false, 0), { code: 'BAD_RING' })
  }
})

t.test('rings that end with their region are taken', async (t) => {
  const memory = ram(t)
  const size = 16
  const layout = { size, descGpa: MIB - 16 * size, availGpa: MIB / 2 - 6 - 2 * size, usedGpa: 0x6000 }
  new SplitVirtqueue(memory, layout, false, false, 0).close()
  new SplitVirtqueue(memory, { ...layout, usedGpa: MIB - 8 - 8 * size }, false, false, 0).close()
})

/** Every view on rings that `memory` gives out from now on. */
function recordOpened(memory: GuestMemory): ArrayBuffer[] {
  const opened: ArrayBuffer[] = []
  const { openRing } = memory
  memory.openRing = (gpa, lenBytes) => {
    const view = openRing.call(memory, gpa, lenBytes)
    if (view !== undefined) opened.push(view)
    return view
  }
  return opened
}
