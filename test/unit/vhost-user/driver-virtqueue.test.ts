import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { DriverVirtqueue } from 'vhost-user-ts/frontend'
import * as native from 'virtiofsd-ts-native'
import { checkNoFdLeak } from '../../support/device/descriptors.js'
import { GIB, guestRam, KIB, MIB, peek } from '../../support/rings/guest-ram.js'
import {
  INDIRECT,
  layoutAt,
  makeRing,
  NEXT,
  type Ring,
  type RingOptions,
  WRITE,
  wordsOf,
} from '../../support/rings/ring.js'

const SIZE = 8
const TABLES = 0x8000
const out = { gpa: 4 * GIB + 64, lenBytes: 40 }
const back = { gpa: 256 * KIB, lenBytes: 16 }

function ringOf(t: Test, options: RingOptions = {}): Ring {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB }, { gpa: 4 * GIB, sizeBytes: MIB })
  return makeRing(t, memory, { size: SIZE, ...options })
}

/** Returns how often the device was kicked since the last call. */
function takeKicks({ driver }: Ring): number {
  const info = readFileSync(`/proc/self/fdinfo/${driver.kickFd}`, 'utf8')
  native.eventfdDrain(driver.kickFd)
  return Number.parseInt(/eventfd-count:\s*([0-9a-f]+)/.exec(info)?.[1] ?? '', 16)
}

t.test('a direct chain is written as the specification has it', async (t) => {
  const { driver } = ringOf(t)
  const head = driver.submit([out], [back])
  const next = driver.desc[4 * head + 3] >>> 16
  t.same([...driver.desc.subarray(4 * head, 4 * head + 4)], wordsOf({ ...out, flags: NEXT, next }))
  t.same([...driver.desc.subarray(4 * next, 4 * next + 4)], wordsOf({ ...back, flags: WRITE }))
  t.same([driver.avail[1], driver.avail[2]], [1, head])
})

t.test('an indirect chain takes one descriptor, and a table of its own', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  const { driver } = makeRing(t, memory, { size: SIZE, indirect: true })
  const heads = [driver.submit([{ gpa: 1, lenBytes: 2 }], [back]), driver.submit([], [back])]
  for (const [n, head] of heads.entries()) {
    const gpa = TABLES + head * SIZE * 16
    const lenBytes = n === 0 ? 32 : 16
    t.same([...driver.desc.subarray(4 * head, 4 * head + 4)], wordsOf({ gpa, lenBytes, flags: INDIRECT }))
  }
  const table = new Int32Array(peek(memory, TABLES + heads[0] * SIZE * 16, 32).buffer)
  t.same(
    [...table],
    [...wordsOf({ gpa: 1, lenBytes: 2, flags: NEXT, next: 1 }), ...wordsOf({ ...back, flags: WRITE })],
  )
})

t.test('a request that does not fit is refused, and nothing of it is on the ring', async (t) => {
  const direct = ringOf(t)
  direct.driver.submit(Array(SIZE - 1).fill(out), [])
  t.throws(() => direct.driver.submit([out], [back]), RangeError, 'one descriptor left')
  t.throws(() => direct.driver.submit([], []), RangeError, 'no buffers')
  t.equal(direct.driver.avail[1], 1)
  direct.driver.submit([out], [])

  const indirect = ringOf(t, { indirect: true })
  t.throws(() => indirect.driver.submit(Array(SIZE + 1).fill(out), []), RangeError, 'longer than a table')
  t.throws(() => indirect.driver.submit([], []), RangeError, 'no buffers')
  for (let n = 0; n < SIZE; n++) indirect.driver.submit([out, out], [back])
  t.throws(() => indirect.driver.submit([out], []), RangeError, 'no head left')
  t.equal(indirect.driver.avail[1], SIZE)
})

t.test('descriptors of a request are free again when it has been used, and not before', async (t) => {
  const ring = ringOf(t)
  ring.driver.submit(Array(SIZE).fill(out), [])
  t.equal(ring.driver.inFlightCount, 1)
  ring.device.pop()?.complete(0)
  t.throws(() => ring.driver.submit([out], []), RangeError, 'given back, but not taken yet')
  ring.driver.reap(0)
  t.equal(ring.driver.inFlightCount, 0)
  ring.driver.submit(Array(SIZE).fill(out), [])
})

t.test('reap returns used requests in order, or undefined if there is none', async (t) => {
  const ring = ringOf(t)
  t.equal(ring.driver.reap(0), undefined)
  const heads = [ring.driver.submit([out], []), ring.driver.submit([out], [])]
  for (const [n] of heads.entries()) ring.device.pop()?.complete(n + 1)
  t.same(ring.driver.reap(0), { head: heads[0], writtenBytes: 1 })
  t.same(ring.driver.reap(0), { head: heads[1], writtenBytes: 2 })
  t.equal(ring.driver.reap(1), undefined)
})

t.test('a wait that finds nothing asks for a signal by used_event', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  for (let n = 0; n < 3; n++) {
    ring.driver.submit([out], [])
    ring.device.pop()?.complete(0)
    ring.driver.reap(0)
  }
  ring.driver.reap(0)
  t.equal(ring.driver.avail[2 + SIZE], 3)
})

t.test('a call that came early is not lost', async (t) => {
  const ring = ringOf(t)
  native.eventfdSignal(ring.driver.callFd)
  t.equal(ring.driver.reap(5), undefined, 'a signal alone is no request')
  ring.driver.submit([out], [])
  ring.device.pop()?.complete(0)
  t.ok(ring.driver.reap(0))
})

t.test('kick signals once for what was submitted, and nothing for nothing', async (t) => {
  const ring = ringOf(t)
  ring.driver.submit([out], [])
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 1)
})

t.test('kick respects NO_NOTIFY without event-idx', async (t) => {
  const ring = ringOf(t)
  ring.device.disarmKick()
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 0)
  ring.device.armKick()
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 1)
})

t.test('kick respects avail_event with event-idx', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 1, 'avail_event is 0 at first: the first request is kicked')
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 0, 'the device has not asked since')
  for (let n = 0; n < 2; n++) ring.device.pop()?.complete(0)
  ring.device.armKick()
  ring.driver.submit([out], [])
  ring.driver.kick()
  t.equal(takeKicks(ring), 1)
})

t.test('a queue outside guest memory is refused, and one that is closed leaves no descriptor', async (t) => {
  const memory = guestRam(t, { gpa: 0, sizeBytes: MIB })
  checkNoFdLeak(t, () => {
    new DriverVirtqueue(memory, layoutAt(0, SIZE), false, undefined).close()
  })
  checkNoFdLeak(t, () => {
    const layout = layoutAt(MIB, SIZE)
    t.throws(() => new DriverVirtqueue(memory, layout, false, undefined), { code: 'BAD_RING' })
  })
})
