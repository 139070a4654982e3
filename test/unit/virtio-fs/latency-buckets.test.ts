import t from 'tap'
import { Counters, LATENCY_BUCKETS, latencyBoundUs, latencyBucketOf } from 'virtio-fs-ts/protocol'

t.test('a latency is above the bound of the bucket before its own, and not above its own', async (t) => {
  for (let us = 0.01; us < 5e8; us *= 1.037) {
    const bucket = latencyBucketOf(us / 1000)
    t.ok(us <= latencyBoundUs(bucket) * (1 + 1e-12), `${us} in ${bucket}`)
    if (bucket > 0) t.ok(us > latencyBoundUs(bucket - 1) * (1 - 1e-12), `${us} in ${bucket}`)
  }
})

t.test('powers of two are bounds, and belong to the bucket that ends there', async (t) => {
  for (let us = 1; us <= 2 ** 24; us *= 2) t.equal(latencyBoundUs(latencyBucketOf(us / 1000)), us)
})

t.test('bounds grow; no latency is out of range', async (t) => {
  for (let bucket = 1; bucket < LATENCY_BUCKETS; bucket++)
    t.ok(latencyBoundUs(bucket) > latencyBoundUs(bucket - 1))
  t.equal(latencyBucketOf(0), 0)
  t.equal(latencyBucketOf(-1), 0)
  t.equal(latencyBucketOf(1e12), LATENCY_BUCKETS - 1)
})

t.test('latencies are counted while they are asked for, for every opcode', async (t) => {
  const counters = new Counters()
  t.equal(counters.begin(3), 0)
  counters.answered(3, 0)
  t.same(counters.latencyReport(), [])
  const seen = new Counters(counters.memory)
  seen.isTimed = true
  const startMs = counters.begin(3)
  t.ok(startMs > 0)
  t.equal(counters.begin(3), startMs, 'the clock is read once in a batch that answers nothing')
  counters.answered(3, startMs)
  counters.answered(3, startMs)
  t.same(seen.latencyReport(), [], 'until the batch ends')
  const microseconds = () => seen.latencyReport().map(({ count, sumMs }) => [count, Math.round(1000 * sumMs)])
  counters.tick(startMs + 0.03)
  t.equal(counters.begin(3), startMs + 0.03, 'the next batch begins at that time')
  t.same(microseconds(), [[2, 60]])
  counters.tick(startMs + 10)
  counters.answered(3, counters.begin(3))
  counters.tick(startMs + 10.01)
  t.same(microseconds(), [[3, 70]], 'the time between batches is no latency')
})

t.test(
  'in a long batch, the clock is looked at now and then; what is answered later has its own look',
  async (t) => {
    const counters = new Counters()
    counters.isTimed = true
    const startMs = counters.begin(3)
    for (let n = 0; n < 8; n++) counters.answered(3, counters.begin(3))
    t.match(counters.latencyReport(), [{ count: 8 }])
    t.ok(counters.begin(3) > startMs)
    counters.answered(4, startMs)
    t.match(counters.latencyReport(), [{ count: 8 }, { count: 1 }])
    const sums = counters.latencyReport().map(({ sumMs }) => sumMs)
    t.ok(sums.every((sumMs) => sumMs > 0))
  },
)

const GETATTR = 3
const READDIRPLUS = 44

/** Waits without giving the processor up, and answers a request. */
function answer(counters: Counters, opcode: number, taskMs: number): void {
  const startMs = counters.begin(opcode)
  const endMs = performance.now() + taskMs
  while (performance.now() < endMs) {}
  counters.answered(opcode, startMs)
}

t.test('a long request of a batch is not counted in those of other opcodes', async (t) => {
  const counters = new Counters()
  counters.isTimed = true
  for (let batch = 0; batch < 20; batch++) {
    counters.tick(performance.now())
    answer(counters, GETATTR, 0)
    answer(counters, READDIRPLUS, 2)
    answer(counters, 0xffff_ffff, 0)
    counters.tick(performance.now())
  }
  const [short, long, last] = counters.latencyReport()
  t.match([short?.count, long?.count, last?.count], [20, 20, 20])
  t.ok((long?.sumMs ?? 0) >= 40)
  // A busy machine interrupts some.
  t.ok((short?.sumMs ?? 40) < 20, `${short?.sumMs} ms`)
  t.ok((last?.sumMs ?? 40) < 20, `${last?.sumMs} ms`)
})

t.test('what was answered before a guest leaves is counted when it leaves', async (t) => {
  const counters = new Counters()
  counters.isTimed = true
  answer(counters, GETATTR, 0)
  counters.settle()
  t.match(counters.latencyReport(), [{ count: 1 }])
  const { sumMs } = counters.latencyReport()[0] ?? { sumMs: 1e9 }
  const startMs = performance.now()
  t.ok(counters.begin(GETATTR) >= startMs, 'the next one begins anew')
  t.equal(counters.latencyReport()[0]?.sumMs, sumMs)
})

t.test('requests that take long have looks of their own at the clock', async (t) => {
  const counters = new Counters()
  counters.isTimed = true
  counters.tick(performance.now())
  const counted = () => counters.latencyReport()[0]?.count ?? 0
  const sizes = Array.from({ length: 6 }, () => {
    const before = counted()
    let size = 0
    for (; counted() === before; size++) answer(counters, GETATTR, 1)
    return size
  })
  t.same(sizes, [8, 4, 2, 1, 1, 1])
  const [{ sumMs, count } = { sumMs: 0, count: 0 }] = counters.latencyReport()
  t.equal(count, 17)
  t.ok(sumMs >= 8 * 8 + 4 * 4 + 2 * 2 + 3, `${sumMs} ms`)
  for (let batch = 0; batch < 3; batch++) {
    answer(counters, GETATTR, 1)
    t.equal(counted(), 18 + batch, 'in small batches, too')
    counters.tick(performance.now())
  }
})
