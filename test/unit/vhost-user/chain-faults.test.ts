import t, { type Test } from 'tap'
import type { GuestMemory } from 'vhost-user-ts'
import type { ChainFault } from '#vhost-user/rings/split-virtqueue'
import { GIB, guestRam, KIB, MIB, poke } from '../../support/rings/guest-ram.js'
import {
  type Descriptor,
  INDIRECT,
  makeRing,
  NEXT,
  offer,
  type Ring,
  type RingOptions,
  tableOf,
  WRITE,
} from '../../support/rings/ring.js'

const SIZE = 8
const DATA = 128 * KIB
const TABLE = 64 * KIB

function smallRing(t: Test, options: RingOptions = {}): { memory: GuestMemory; ring: Ring } {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  return { memory, ring: makeRing(t, memory, { size: SIZE, ...options }) }
}

/** The queue goes on after each fault. */
function checkStillWorks(t: Test, ring: Ring): void {
  const head = SIZE - 1
  ring.driver.desc.set([DATA, 0, 16, WRITE], 4 * head)
  ring.driver.publish(head)
  const chain = ring.device.pop()
  t.match(chain, { head, writableBytes: 16 }, 'the next request is served')
  if (chain !== undefined) ring.device.complete(chain, 16)
  t.equal(ring.device.inFlightCount, 0)
  t.notOk(ring.device.broken)
}

/**
 * Checks that the chain at head 0 is refused with `fault`. It has been returned with nothing written, or can be
 * answered, which this does.
 */
function checkFault(t: Test, ring: Ring, fault: ChainFault): void {
  t.equal(ring.device.pop(), undefined)
  t.equal(ring.device.fault, fault)
  const { refused } = ring.device
  if (refused !== undefined) {
    t.equal(ring.driver.reap(0), undefined, 'not given back yet')
    ring.device.complete(refused, 0)
  }
  t.same(ring.driver.reap(0), { head: 0, writtenBytes: 0 }, 'given back')
  checkStillWorks(t, ring)
}

function checkRefused(t: Test, descriptors: readonly Descriptor[], fault: ChainFault): void {
  const { ring } = smallRing(t)
  offer(ring, descriptors)
  checkFault(t, ring, fault)
}

/** The same for a chain whose head names an indirect table. */
function checkIndirectRefused(
  t: Test,
  table: readonly Descriptor[],
  fault: ChainFault,
  lenBytes = 16 * table.length,
): void {
  const { memory, ring } = smallRing(t, { indirect: true })
  poke(memory, TABLE, tableOf(table))
  offer(ring, [{ gpa: TABLE, lenBytes, flags: INDIRECT }])
  checkFault(t, ring, fault)
}

for (const head of [SIZE, SIZE + 1, 0xffff]) {
  t.test(`head ${head} of a queue of ${SIZE} is refused, and cannot even be given back`, async (t) => {
    const { ring } = smallRing(t)
    ring.driver.publish(head)
    t.equal(ring.device.pop(), undefined)
    t.equal(ring.device.fault, 'descriptor index out of range')
    t.equal(ring.driver.reap(0), undefined)
    checkStillWorks(t, ring)
  })
}

t.test('a next index beyond the queue is refused', async (t) => {
  for (const next of [SIZE, 0xffff]) {
    checkRefused(t, [{ gpa: DATA, lenBytes: 16, flags: NEXT, next }], 'descriptor index out of range')
  }
})

t.test('a next index beyond its indirect table is refused, though the queue is longer', async (t) => {
  const table = [
    { gpa: DATA, lenBytes: 16, flags: NEXT, next: 1 },
    { gpa: DATA, lenBytes: 16, flags: NEXT, next: 2 },
  ]
  checkIndirectRefused(t, table, 'descriptor index out of range')
})

t.test('loops are refused', async (t) => {
  const step = (next: number) => ({ gpa: DATA, lenBytes: 16, flags: NEXT, next })
  checkRefused(t, [step(0)], 'chain longer than the queue')
  checkRefused(t, [step(1), step(2), step(1)], 'chain longer than the queue')
  checkIndirectRefused(t, [step(0)], 'chain longer than the queue')
  checkIndirectRefused(t, [step(1), step(0)], 'chain longer than the queue')
})

t.test('a loop of empty descriptors is refused', async (t) => {
  const step = (next: number) => ({ gpa: DATA, lenBytes: 0, flags: NEXT, next })
  checkRefused(t, [step(1), step(0)], 'chain longer than the queue')
  checkIndirectRefused(t, [step(1), step(0)], 'chain longer than the queue')
})

t.test(
  'an indirect table behind descriptors of the main table may not exceed the queue together',
  async (t) => {
    const { memory, ring } = smallRing(t, { indirect: true })
    const table = Array.from({ length: SIZE }, (_, n) => ({
      gpa: DATA,
      lenBytes: 16,
      flags: n + 1 < SIZE ? NEXT : 0,
      next: n + 1,
    }))
    poke(memory, TABLE, tableOf(table))
    offer(ring, [
      { gpa: DATA, lenBytes: 16, flags: NEXT, next: 1 },
      { gpa: TABLE, lenBytes: 16 * SIZE, flags: INDIRECT },
    ])
    checkFault(t, ring, 'chain longer than the queue')
  },
)

t.test('buffers outside guest memory are refused', async (t) => {
  const outside: [string, Descriptor][] = [
    ['behind the end', { gpa: MIB, lenBytes: 1 }],
    ['one byte over the end', { gpa: MIB - 16, lenBytes: 17 }],
    ['far away', { gpa: 0x1000_0000_0000, lenBytes: 16 }],
    ['the address plus the length wraps 64 bits', { gpa: 2 ** 64 - 2 ** 12, lenBytes: 0xffff }],
    ['beyond 2^53, where no Number is exact', { gpa: 2 ** 53, lenBytes: 16 }],
    ['whose low half alone would be inside', { gpa: 2 ** 32 + DATA, lenBytes: 16 }],
  ]
  for (const [name, descriptor] of outside) {
    t.comment(name)
    checkRefused(t, [descriptor], 'address outside guest memory')
    checkRefused(t, [{ ...descriptor, flags: WRITE }], 'address outside guest memory')
    checkIndirectRefused(t, [descriptor], 'address outside guest memory')
  }
})

t.test('an indirect table outside guest memory is refused', async (t) => {
  for (const gpa of [MIB, MIB - 16, 2 ** 32 + TABLE, 2 ** 53]) {
    const { ring } = smallRing(t, { indirect: true })
    offer(ring, [{ gpa, lenBytes: 32, flags: INDIRECT }])
    checkFault(t, ring, 'address outside guest memory')
  }
})

t.test('a readable buffer behind a writable one is refused', async (t) => {
  const chain = [
    { gpa: DATA, lenBytes: 16, flags: WRITE | NEXT, next: 1 },
    { gpa: DATA, lenBytes: 16 },
  ]
  checkRefused(t, chain, 'readable after writable')
  checkIndirectRefused(t, chain, 'readable after writable')
})

t.test('an indirect table inside an indirect table is refused', async (t) => {
  checkIndirectRefused(t, [{ gpa: TABLE, lenBytes: 16, flags: INDIRECT }], 'bad indirect table')
})

t.test('an indirect table with a next descriptor is refused', async (t) => {
  const { ring } = smallRing(t, { indirect: true })
  offer(ring, [
    { gpa: TABLE, lenBytes: 16, flags: INDIRECT | NEXT, next: 1 },
    { gpa: DATA, lenBytes: 16 },
  ])
  checkFault(t, ring, 'bad indirect table')
})

t.test('an indirect table that was not negotiated is refused', async (t) => {
  const { memory, ring } = smallRing(t, { indirect: false })
  poke(memory, TABLE, tableOf([{ gpa: DATA, lenBytes: 16 }]))
  offer(ring, [{ gpa: TABLE, lenBytes: 16, flags: INDIRECT }])
  checkFault(t, ring, 'bad indirect table')
})

for (const lenBytes of [0, 1, 15, 17, 16 * SIZE + 16, 2 ** 32 - 16]) {
  t.test(`an indirect table of ${lenBytes} bytes is refused`, async (t) => {
    checkIndirectRefused(t, [{ gpa: DATA, lenBytes: 16 }], 'bad indirect table', lenBytes)
  })
}

t.test('a refused chain has those segments that can be reached, for the error reply', async (t) => {
  const readable = { gpa: DATA, lenBytes: 40, flags: NEXT }
  const writable = { gpa: DATA + 64, lenBytes: 16, flags: WRITE }
  const gone = { gpa: MIB, lenBytes: 8, flags: NEXT }
  const cases: [string, readonly Descriptor[], object | undefined][] = [
    ['nothing', [{ ...gone, flags: 0 }], undefined],
    ['the place of a reply alone', [{ ...gone, next: 1 }, writable], { readableBytes: 0, writableBytes: 16 }],
    [
      'the front of a request',
      [{ ...readable, next: 1 }, { ...gone, next: 2 }, { ...readable, next: 3 }, writable],
      { readableBytes: 40, writableBytes: 16, readableSegments: 1, segmentCount: 2 },
    ],
    [
      'the front of a reply',
      [
        { ...readable, next: 1 },
        { ...writable, flags: WRITE | NEXT, next: 2 },
        { ...gone, flags: WRITE | NEXT, next: 3 },
        writable,
      ],
      { readableBytes: 40, writableBytes: 16, segmentCount: 2 },
    ],
    [
      'no front of a reply',
      [{ ...readable, next: 1 }, { ...gone, flags: WRITE | NEXT, next: 2 }, writable],
      { readableBytes: 40, writableBytes: 0 },
    ],
  ]
  for (const [name, descriptors, expected] of cases) {
    const { ring } = smallRing(t)
    offer(ring, descriptors)
    t.equal(ring.device.pop(), undefined)
    if (expected === undefined) t.equal(ring.device.refused, undefined, name)
    else t.match(ring.device.refused, expected, name)
    t.equal(ring.device.fault, 'address outside guest memory')
  }
})

t.test('a chain of more than 4 GiB is refused, in either direction', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: 3 * GIB })
  for (const flags of [0, WRITE]) {
    const ring = makeRing(t, memory, { size: SIZE })
    offer(ring, [
      { gpa: 4 * GIB, lenBytes: 2 * GIB, flags: flags | NEXT, next: 1 },
      { gpa: 5 * GIB, lenBytes: 2 * GIB, flags },
    ])
    checkFault(t, ring, 'more than 4 GiB in one chain')
    clearRing(ring)
  }
})

t.test(
  'what is kept of a chain of more than 4 GiB ends below that, and the reply still has its place',
  async (t) => {
    const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: 3 * GIB })
    const part = { gpa: 4 * GIB, lenBytes: 3 * GIB }
    const kept: readonly (readonly [string, Parameters<typeof offer>[1], object])[] = [
      [
        'written',
        [
          { gpa: DATA, lenBytes: 16, flags: WRITE | NEXT, next: 1 },
          { ...part, flags: WRITE | NEXT, next: 2 },
          { ...part, flags: WRITE | NEXT, next: 3 },
          { gpa: DATA, lenBytes: 8, flags: WRITE },
        ],
        { writableBytes: 3 * GIB + 16, segmentCount: 2 },
      ],
      [
        'read',
        [
          { ...part, flags: NEXT, next: 1 },
          { ...part, flags: NEXT, next: 2 },
          { gpa: DATA, lenBytes: 16, flags: WRITE },
        ],
        { readableBytes: 3 * GIB, writableBytes: 16, segmentCount: 2 },
      ],
    ]
    for (const [what, descriptors, chain] of kept) {
      const ring = makeRing(t, memory, { size: SIZE })
      offer(ring, descriptors)
      t.equal(ring.device.pop(), undefined)
      t.equal(ring.device.fault, 'more than 4 GiB in one chain', what)
      t.match(ring.device.refused, chain, what)
      clearRing(ring)
    }
  },
)

t.test('one byte less than 4 GiB is one chain', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: 3 * GIB })
  const ring = makeRing(t, memory, { size: SIZE })
  offer(ring, [
    { gpa: 4 * GIB, lenBytes: 2 * GIB, flags: NEXT, next: 1 },
    { gpa: 5 * GIB, lenBytes: 2 * GIB - 1 },
  ])
  t.match(ring.device.pop(), { readableBytes: 2 ** 32 - 1, segmentCount: 2 })
})

t.test('a head that is in flight already is refused, however often it comes (CVE-2016-5403)', async (t) => {
  const { ring } = smallRing(t)
  offer(ring, [{ gpa: DATA, lenBytes: 16, flags: WRITE }])
  const chain = ring.device.pop()
  if (chain === undefined) throw new Error('no chain')
  for (let n = 0; n < 3 * SIZE; n++) {
    ring.driver.publish(0)
    t.equal(ring.device.pop(), undefined)
    t.equal(ring.device.fault, 'descriptor already in flight')
    t.equal(ring.device.inFlightCount, 1)
  }
  t.equal(ring.driver.reap(0), undefined, 'none of them is given back')
  ring.device.complete(chain, 5)
  t.same(ring.driver.reap(0), { head: 0, writtenBytes: 5 })
  ring.driver.publish(0)
  t.match(ring.device.pop(), { head: 0 }, 'afterwards it may come again')
})

/** Leaves the memory to a ring that starts anew. */
function clearRing({ driver }: Ring): void {
  driver.avail.fill(0)
  driver.used.fill(0)
}
