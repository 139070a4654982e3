import t from 'tap'
import { AdaptiveSpin } from '#vhost-user/adaptive-spin'

const MAX_NS = 50_000
const SHORT_NS = 20_000
const LONG_NS = 1_000_000

const alone = () => 0

/** The spins that follow one another when the sleeps after them take these times. */
function spinsAfter(maxNs: number, idleNs: readonly number[]): number[] {
  const spin = new AdaptiveSpin(maxNs, alone)
  return idleNs.map((ns) => {
    spin.missed(ns)
    return spin.spinNs
  })
}

t.test('the first spin is the longest', async (t) => {
  t.equal(new AdaptiveSpin(MAX_NS, alone).spinNs, MAX_NS)
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
  t.equal(new AdaptiveSpin(0, alone).spinNs, 0)
  t.same(spinsAfter(0, [0, SHORT_NS, LONG_NS, 0]), [0, 0, 0, 0])
})

t.test('a limit below the first spin is still a limit', async (t) => {
  t.same(spinsAfter(3_000, [LONG_NS, 1_000, 1_000]), [0, 3_000, 3_000])
})

t.test('the spin is a whole number, which the addon demands', async (t) => {
  t.ok(spinsAfter(11_111, [LONG_NS]).every(Number.isInteger))
})

t.test('a sender on our own processor is not kept from it', async (t) => {
  const spin = new AdaptiveSpin(MAX_NS, alone)
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

t.test('where others want the processor it rests, and tries again now and then', async (t) => {
  let preemptions = 1000
  const spin = new AdaptiveSpin(MAX_NS, () => preemptions)
  /** Spins that all catch something until there are none for a while; `every`: after how many the processor is lost. */
  const spinsUntilRest = (every: number): number => {
    for (let n = 1; n <= 4096; n++) {
      if (n % every === 0) preemptions++
      spin.caught()
      if (spin.spinNs === 0) return n
    }
    return Number.POSITIVE_INFINITY
  }
  const sleepsUntilSpin = (): number => {
    let sleeps = 0
    for (; spin.spinNs === 0; sleeps++) spin.missed(SHORT_NS)
    return sleeps
  }
  t.equal(spinsUntilRest(100), Number.POSITIVE_INFINITY, 'lost a few times: the kernel has work of its own')
  t.equal(spinsUntilRest(20), 1024, 'lost often')
  t.equal(sleepsUntilSpin(), 1024)
  preemptions += 1000
  t.equal(spinsUntilRest(100), 1024, 'lost often between two windows')
  t.equal(sleepsUntilSpin(), 2048, 'again: it rests longer')
  t.equal(spinsUntilRest(20), 1024)
  t.equal(sleepsUntilSpin(), 4096)
  t.equal(spinsUntilRest(1000), Number.POSITIVE_INFINITY, 'not any more')
  t.equal(spinsUntilRest(20), 1024)
  t.equal(sleepsUntilSpin(), 1024, 'after windows that went well it begins anew')
})

t.test('what the processor was lost for during a rest does not count', async (t) => {
  let preemptions = 0
  const spin = new AdaptiveSpin(MAX_NS, () => preemptions)
  for (let n = 0; n < 8; n++) spin.missed(SHORT_NS)
  t.equal(spin.spinNs, 0, 'a rest')
  preemptions = 500
  while (spin.spinNs === 0) spin.missed(SHORT_NS)
  for (let n = 0; n < 1024; n++) spin.caught()
  t.equal(spin.spinNs, MAX_NS)
})
