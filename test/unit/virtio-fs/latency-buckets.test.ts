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
  t.equal(counters.begin(), 0)
  counters.answered(3, 0)
  t.same(counters.latencyReport(), [])
  const seen = new Counters(counters.memory)
  seen.isTimed = true
  const startMs = counters.begin()
  t.ok(startMs > 0)
  t.equal(counters.begin(), startMs, 'the clock is read once in a batch that answers nothing')
  counters.answered(3, startMs)
  counters.answered(0xffff_ffff, startMs)
  t.same(seen.latencyReport(), [], 'until the batch ends')
  counters.tick(startMs + 2)
  t.equal(counters.begin(), startMs + 2, 'the next batch begins at that time')
  t.same(
    seen.latencyReport().map(({ count, sumMs }) => [count, Math.round(sumMs)]),
    [
      [1, 2],
      [1, 2],
    ],
  )
  counters.tick(startMs + 10)
  counters.answered(3, counters.begin())
  counters.tick(startMs + 11)
  t.equal(Math.round(seen.latencyReport()[0]?.sumMs ?? 0), 3, 'the time between batches is no latency')
})

t.test(
  'in a long batch, the clock is looked at now and then; what is answered later has its own look',
  async (t) => {
    const counters = new Counters()
    counters.isTimed = true
    const startMs = counters.begin()
    for (let n = 0; n < 8; n++) counters.answered(3, counters.begin())
    t.match(counters.latencyReport(), [{ count: 8 }])
    t.ok(counters.begin() > startMs)
    counters.answered(4, startMs)
    t.match(counters.latencyReport(), [{ count: 8 }, { count: 1 }])
    const sums = counters.latencyReport().map(({ sumMs }) => sumMs)
    t.ok(sums.every((sumMs) => sumMs > 0))
  },
)

/** The requests of a batch that are answered, each after `taskMs`, before the clock is looked at. */
function answeredTogether(counters: Counters, taskMs: number): number {
  const counted = () => counters.latencyReport()[0]?.count ?? 0
  const before = counted()
  for (let n = 1; n <= 1000; n++) {
    const endMs = performance.now() + taskMs
    while (performance.now() < endMs) {}
    counters.answered(3, counters.begin())
    if (counted() > before) return n
  }
  return 0
}

t.test('a request that takes long has its own look at the clock', async (t) => {
  const counters = new Counters()
  counters.isTimed = true
  counters.tick(performance.now())
  t.equal(answeredTogether(counters, 1), 8)
  const sizes = Array.from({ length: 5 }, () => answeredTogether(counters, 1))
  t.same(sizes, [4, 2, 1, 1, 1])
  const [{ sumMs, count } = { sumMs: 0, count: 0 }] = counters.latencyReport()
  t.equal(count, 17)
  t.ok(sumMs >= 8 * 8 + 4 * 4 + 2 * 2 + 3, `${sumMs} ms`)
})
