import t, { type Test } from 'tap'
import { guestRam, KIB, MIB } from '../../support/rings/guest-ram.js'
import { makeRing, type Ring, type RingOptions } from '../../support/rings/ring.js'

const SIZE = 8
const buffer = { gpa: 128 * KIB, lenBytes: 16 }

const NO_INTERRUPT = 1
const NO_NOTIFY = 1
/** Where used_event and avail_event lie, in words of 16 bits (virtio 1.3, 2.7.6 and 2.7.8). */
const USED_EVENT = 2 + SIZE
const AVAIL_EVENT = 2 + 4 * SIZE

function ringOf(t: Test, options: RingOptions): Ring {
  return makeRing(t, guestRam(t, { gpa: 0, sizeBytes: MIB }), { size: SIZE, ...options })
}

function serve({ driver, device }: Ring, count: number): void {
  for (let n = 0; n < count; n++) {
    driver.submit([], [buffer])
    device.pop()?.complete(0)
    driver.reap(0)
  }
}

/** vring_need_event of the specification (virtio 1.3, 2.7.10.1), written as it is there. */
const needsEvent = (event: number, next: number, old: number) =>
  ((next - event - 1) & 0xffff) < ((next - old) & 0xffff)

t.test('without event-idx the driver is told unless it says NO_INTERRUPT', async (t) => {
  const ring = ringOf(t, { eventIdx: false })
  t.notOk(ring.device.shouldSignal(), 'nothing was given back')
  serve(ring, 2)
  t.ok(ring.device.shouldSignal())
  t.notOk(ring.device.shouldSignal(), 'once for all that was given back')
  ring.driver.avail[0] = NO_INTERRUPT
  serve(ring, 1)
  t.notOk(ring.device.shouldSignal())
  ring.driver.avail[0] = 0
  t.notOk(ring.device.shouldSignal(), 'what was kept quiet is not told later')
  serve(ring, 1)
  t.ok(ring.device.shouldSignal())
})

t.test('with event-idx the first signal is always sent', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  ring.driver.avail[USED_EVENT] = 100
  t.notOk(ring.device.shouldSignal(), 'nothing was given back')
  serve(ring, 1)
  t.ok(ring.device.shouldSignal())
  serve(ring, 1)
  t.notOk(ring.device.shouldSignal(), 'then only as the driver asks')
})

t.test('with event-idx the driver is told exactly when used_event is passed', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  serve(ring, 1)
  ring.device.shouldSignal()
  let old = 1
  for (const count of [1, 2, 3, SIZE]) {
    for (let ahead = -3; ahead <= count + 2; ahead++) {
      const event = old + ahead
      ring.driver.avail[USED_EVENT] = event
      serve(ring, count)
      const want = needsEvent(event & 0xffff, old + count, old)
      t.equal(ring.device.shouldSignal(), want, `${count} from ${old}, used_event ${event}`)
      old += count
    }
  }
})

t.test('event-idx arithmetic wraps at 65536', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  serve(ring, 65530)
  t.ok(ring.device.shouldSignal())
  let old = 65530
  for (const [count, event, want] of [
    [3, 65531, true],
    [2, 0, false],
    [2, 65535, true],
    [3, 65535, false],
    [3, 2, false],
    [1, 5, false],
    [8, 4, false],
    [2, 17, true],
  ] as const) {
    ring.driver.avail[USED_EVENT] = event
    serve(ring, count)
    const next = (old + count) & 0xffff
    t.equal(needsEvent(event, next, old), want, 'the specification’s own arithmetic')
    t.equal(ring.device.shouldSignal(), want, `${count} from ${old}, used_event ${event}`)
    old = next
  }
})

t.test('with event-idx NO_INTERRUPT is ignored', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  ring.driver.avail[0] = NO_INTERRUPT
  serve(ring, 1)
  t.ok(ring.device.shouldSignal())
})

t.test('without event-idx kicks are asked for and declined by a flag', async (t) => {
  const ring = ringOf(t, { eventIdx: false })
  ring.device.disarmKick()
  t.equal(ring.driver.used[0], NO_NOTIFY)
  t.notOk(ring.device.armKick())
  t.equal(ring.driver.used[0], 0)
})

t.test('with event-idx kicks are asked for by avail_event, and the flag stays 0', async (t) => {
  const ring = ringOf(t, { eventIdx: true })
  serve(ring, 5)
  ring.device.disarmKick()
  t.equal(ring.driver.used[0], 0)
  t.notOk(ring.device.armKick())
  t.equal(ring.driver.used[AVAIL_EVENT], 5)
  t.equal(ring.driver.used[0], 0)
})

for (const eventIdx of [false, true]) {
  const name = eventIdx ? 'with' : 'without'
  t.test(
    `a request that came just before kicks were asked for is not missed, ${name} event-idx`,
    async (t) => {
      const ring = ringOf(t, { eventIdx })
      ring.driver.submit([], [buffer])
      t.ok(ring.device.armKick(), 'look again')
      t.ok(ring.device.available() === 1)
      ring.device.pop()
      t.notOk(ring.device.armKick(), 'now sleep')
    },
  )
}
