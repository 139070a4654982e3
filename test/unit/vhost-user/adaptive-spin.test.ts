import t from 'tap'
import { AdaptiveSpin } from '#vhost-user/adaptive-spin'

const MAX_NS = 50_000
const SHORT_NS = 20_000
const LONG_NS = 1_000_000

/** One request for each idle time, whose processor time is always the same. */
class Load {
  requests = 0
  readonly spin: AdaptiveSpin

  constructor(maxNs: number) {
    this.spin = new AdaptiveSpin(maxNs, () => this.requests)
  }

  missed(idleNs: number): number {
    this.spin.missed(idleNs, ++this.requests)
    return this.spin.spinNs
  }
}

/** The spins that follow one another when the sleeps after them take these times. */
function spinsAfter(maxNs: number, idleNs: readonly number[]): number[] {
  const load = new Load(maxNs)
  return idleNs.map((ns) => load.missed(ns))
}

t.test('the first spin is the longest', async (t) => {
  t.equal(new Load(MAX_NS).spin.spinNs, MAX_NS)
})

t.test('long sleeps halve the spin, down to none at all', async (t) => {
  t.same(spinsAfter(MAX_NS, Array(6).fill(LONG_NS)), [25_000, 12_500, 6_250, 0, 0, 0])
})

t.test('short sleeps lengthen the spin again, up to the longest', async (t) => {
  const idle = [...Array(4).fill(LONG_NS), ...Array(5).fill(SHORT_NS)]
  t.same(spinsAfter(MAX_NS, idle).slice(4), [10_000, 20_000, 40_000, 50_000, 50_000])
})

t.test('a sleep as long as the longest spin counts as short, a longer one does not', async (t) => {
  t.same(spinsAfter(MAX_NS, [MAX_NS]), [50_000])
  t.same(spinsAfter(MAX_NS, [MAX_NS + 1]), [25_000])
})

t.test('with a limit of 0 it never spins', async (t) => {
  t.equal(new Load(0).spin.spinNs, 0)
  t.same(spinsAfter(0, [0, SHORT_NS, LONG_NS, 0]), [0, 0, 0, 0])
})

t.test('a limit below the first spin is still a limit', async (t) => {
  t.same(spinsAfter(3_000, [LONG_NS, 1_000, 1_000]), [0, 3_000, 3_000])
})

t.test('the spin is a whole number of microseconds, as the addon demands', async (t) => {
  t.ok(spinsAfter(11_111, [LONG_NS]).every(Number.isInteger))
})

t.test('it pauses when the sender needs the same processor', async (t) => {
  const load = new Load(MAX_NS)
  // What is waited for comes soon after each spin, never within one.
  const spins = Array.from({ length: 100 }, () => load.spin.spinNs > 0 && load.missed(SHORT_NS) >= 0)
  t.same(spins.slice(0, 9), [...Array(8).fill(true), false])
})
