import t from 'tap'
import {
  bandwidthWords,
  LimitError,
  parseBandwidth,
  parseBytes,
  parseIops,
} from '../../../src/limits/rate-words.js'
import { TokenBucket } from '../../../src/limits/token-bucket.js'

/** Serves as much as passes in `totalMs`, awake each `stepMs`. Returns how much it was. */
function passed(bucket: TokenBucket, totalMs: number, stepMs: number, amount = 1): number {
  let count = 0
  for (let nowMs = 0; nowMs < totalMs; nowMs += stepMs) {
    bucket.refill(nowMs, true)
    for (; bucket.isOpen; count += amount) bucket.take(amount)
  }
  return count
}

t.test('without a rate everything passes', async (t) => {
  const bucket = new TokenBucket()
  bucket.take(1e15)
  t.ok(bucket.isOpen)
  t.notOk(bucket.isLimited)
})

t.test('the rate holds on average, whatever the burst and however late the thread wakes up', async (t) => {
  for (const burst of [1, 10, 100, 1000])
    for (const stepMs of [0.1, 1, 3.7, 50]) {
      const bucket = new TokenBucket()
      bucket.set({ perSecond: 1000, burst }, 0)
      const count = passed(bucket, 10_000, stepMs)
      t.ok(
        count >= 9900 && count <= 10_000 + burst + 1,
        `${count} with a burst of ${burst}, each ${stepMs} ms`,
      )
    }
})

t.test('a request larger than the burst passes once, and later ones wait for it', async (t) => {
  const bucket = new TokenBucket()
  bucket.set({ perSecond: 1000, burst: 100 }, 0)
  bucket.take(5100)
  t.notOk(bucket.isOpen)
  t.equal(Math.round(bucket.opensInMs), 5000)
  bucket.refill(4999, true)
  t.notOk(bucket.isOpen)
  bucket.refill(5001, true)
  t.ok(bucket.isOpen)
})

t.test('after a pause a burst passes, and no more', async (t) => {
  const bucket = new TokenBucket()
  bucket.set({ perSecond: 1000, burst: 20 }, 0)
  bucket.take(20)
  bucket.refill(3_600_000, false)
  let count = 0
  for (; bucket.isOpen; count++) bucket.take(1)
  t.equal(count, 20)
})

t.test('a change of the rate keeps what is owed', async (t) => {
  const bucket = new TokenBucket()
  bucket.set({ perSecond: 10, burst: 1 }, 0)
  bucket.take(101)
  bucket.set({ perSecond: 1000, burst: 100 }, 0)
  t.equal(Math.round(bucket.opensInMs), 100)
  bucket.set(undefined, 0)
  t.ok(bucket.isOpen)
})

t.test('limits are read from words', async (t) => {
  t.same(parseIops('1000'), { perSecond: 1000, burst: 100 })
  t.same(parseIops('5'), { perSecond: 5, burst: 1 })
  t.same(parseIops('1000:7'), { perSecond: 1000, burst: 7 })
  t.equal(parseIops('none'), undefined)
  const mib = 2 ** 20
  t.same(parseBandwidth('100M/50m:5M'), {
    readBytes: { perSecond: 100 * mib, burst: 10 * mib },
    writeBytes: { perSecond: 50 * mib, burst: 5 * mib },
  })
  t.same(parseBandwidth('none/1K'), { readBytes: undefined, writeBytes: { perSecond: 1024, burst: 102.4 } })
  t.equal(parseBytes('2T'), 2 ** 41)
  t.equal(bandwidthWords({ iops: undefined, ...parseBandwidth('20M') }), '20971520:2097152')
  t.equal(bandwidthWords({ iops: undefined, ...parseBandwidth('none/1K') }), 'none/1024:103')
  for (const bad of ['', '0', '-1', 'x', '1.5', '1:2:3', '1:', ':1', '1e3', '99999999999999999'])
    t.throws(() => parseIops(bad), LimitError, bad)
  for (const bad of ['', '0', '1X', '1/2/3', 'M', '5000000T', '1M:0', '/1'])
    t.throws(() => parseBandwidth(bad), LimitError, bad)
})
