import t from 'tap'
import { AdaptiveSpin } from 'vhost-user-ts/adaptive-spin'

const MAX_NS = 50_000
const SHORT_NS = 20_000
const LONG_NS = 1_000_000

/** The spins that follow one another when the sleeps after them take these times. */
function spinsAfter(maxNs: number, idleNs: readonly number[]): number[] {
  const spin = new AdaptiveSpin(maxNs)
  return idleNs.map((ns) => {
    spin.missed(ns)
    return spin.spinNs
  })
}

t.test('the first spin is the longest', async (t) => {
  t.equal(new AdaptiveSpin(MAX_NS).spinNs, MAX_NS)
})

t.test('long sleeps halve the spin, down to none at all', async (t) => {
  t.same(spinsAfter(MAX_NS, Array(6).fill(LONG_NS)), [25_000, 12_500, 6_250, 0, 0, 0])
})

t.test('short sleeps bring it back, up to the longest', async (t) => {
  const idle = [...Array(4).fill(LONG_NS), ...Array(5).fill(SHORT_NS)]
  t.same(spinsAfter(MAX_NS, idle).slice(4), [10_000, 20_000, 40_000, 50_000, 50_000])
})

t.test('a sleep as long as the longest spin counts as short, a longer one does not', async (t) => {
  t.same(spinsAfter(MAX_NS, [MAX_NS]), [50_000])
  t.same(spinsAfter(MAX_NS, [MAX_NS + 1]), [25_000])
})

t.test('a limit of 0 never spins, whatever happens', async (t) => {
  t.equal(new AdaptiveSpin(0).spinNs, 0)
  t.same(spinsAfter(0, [0, SHORT_NS, LONG_NS, 0]), [0, 0, 0, 0])
})

t.test('a limit below the first spin is still a limit', async (t) => {
  t.same(spinsAfter(3_000, [LONG_NS, 1_000, 1_000]), [0, 3_000, 3_000])
})

t.test('the spin is a whole number, which the addon demands', async (t) => {
  t.ok(spinsAfter(11_111, [LONG_NS]).every(Number.isInteger))
})

t.test('a sender on our own processor is not kept from it', async (t) => {
  const spin = new AdaptiveSpin(MAX_NS)
  const spun = (): boolean => {
    const spins = spin.spinNs > 0
    // What is waited for comes soon after each spin, never within one.
    spin.missed(SHORT_NS)
    return spins
  }
  const first = Array.from({ length: 1000 }, spun)
  t.same(first.slice(0, 9), [...Array(8).fill(true), false])
  t.equal(first.filter(Boolean).length, 40, '8 before each rest of 64, 128, 256 and 512, and 8 behind them')
  while (!spun());
  spin.caught()
  for (let n = 0; n < 7; n++) t.ok(spun(), 'after one that caught something it counts afresh')
})
