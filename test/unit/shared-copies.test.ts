import t from 'tap'
import { copierCount, SharedCopies } from '../../src/passthrough/files/shared-copies.js'

const KIB = 1024
const LARGE = 128 * KIB
const FOLLOWERS = 8
const WINDOW = 128

/** Offers `count` reads and hands over those that are wanted; this thread takes `back` of each ten back. Returns how many were. */
function offer(copies: SharedCopies, count: number, back: number): number {
  let handedOver = 0
  for (let n = 0; n < count; n++) {
    if (!copies.wants(LARGE, FOLLOWERS)) continue
    copies.handedOver()
    if (handedOver++ % 10 < back) copies.tookBack()
  }
  return handedOver
}

t.test('the number of threads follows from the processors, and from what was asked for', async (t) => {
  t.equal(copierCount(undefined, 1), 0)
  t.equal(copierCount(undefined, 2), 1)
  t.equal(copierCount(undefined, 64), 4)
  t.equal(copierCount(0, 64), 0)
  t.equal(copierCount(16, 64), 16)
  t.equal(copierCount(16, 4), 3)
  t.equal(copierCount(65536, 1024), 64, 'and from what the addon can start')
})

t.test('small reads stay, and those with little behind them', async (t) => {
  const copies = new SharedCopies(3, () => 4)
  t.equal(copies.wants(64 * KIB - 1, 100), false)
  t.equal(copies.wants(64 * KIB, 16), true)
  t.equal(copies.wants(64 * KIB, 15), false)
  t.equal(copies.wants(1024 * KIB, 1), true)
  t.equal(copies.wants(1024 * KIB, 0), false)
  t.equal(new SharedCopies(0, () => 4).wants(LARGE, FOLLOWERS), false, 'all reads stay without other threads')
})

t.test('while other threads carry out a good part, reads are handed over', async (t) => {
  const copies = new SharedCopies(1, () => 2)
  t.equal(offer(copies, 10 * WINDOW, 6), 10 * WINDOW)
})

t.test('other threads without a free processor get a rest, which doubles, and another chance', async (t) => {
  const copies = new SharedCopies(1, () => 2)
  const tries = offer(copies, 64 * WINDOW, 10)
  t.ok(tries >= 3 * WINDOW && tries <= 4 * WINDOW, `${tries} of ${64 * WINDOW}`)
  offer(copies, 64 * WINDOW, 5)
  t.equal(offer(copies, WINDOW, 5), WINDOW, 'after a try that went well there is no rest')
})

t.test('on one processor, nothing is handed over, until there are more', async (t) => {
  let processors = 2
  const copies = new SharedCopies(1, () => processors)
  offer(copies, WINDOW, 5)
  processors = 1
  t.equal(offer(copies, 100 * WINDOW, 5), WINDOW, 'up to the next look')
  processors = 2
  t.ok(offer(copies, 100 * WINDOW, 5) > WINDOW)
})
