/** Medians, their intervals, and ratios by pairs. */
import t from 'tap'
import { estimate, ratios, relativeSpread, verdict } from '../../../vm/measure/statistics.js'

t.test('the median of odd and even counts, in any order', async (t) => {
  t.equal(estimate([3]).median, 3)
  t.equal(estimate([5, 1, 3]).median, 3)
  t.equal(estimate([4, 1, 3, 2]).median, 2.5)
  t.equal(estimate([10, 9, 100]).median, 10, 'numbers, not text')
  t.throws(() => estimate([]), RangeError)
})

t.test('the interval leaves out as many ends as 90 % confidence allows', async (t) => {
  const upTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1)
  // Chances that the true median lies outside, by the binomial table: 5: 2/32; 7: 2/128, with one cut 16/128;
  // 8: with one cut 18/256; 11: with two cut 134/2048; 15: with three cut 1152/32768, with four 3882/32768.
  for (const [count, low, high] of [
    [1, 1, 1],
    [2, 1, 2],
    [5, 1, 5],
    [7, 1, 7],
    [8, 2, 7],
    [11, 3, 9],
    [15, 4, 12],
  ] as const) {
    t.match(estimate(upTo(count)), { low, high }, `${count} numbers`)
  }
})

t.test('ratios are taken pair by pair', async (t) => {
  // The machine was twice as fast in the second round: the ratio is the same.
  t.same(ratios([10, 20, 12], [5, 10, 6]), [2, 2, 2])
  t.throws(() => ratios([1, 2], [1]), RangeError)
})

t.test('a verdict needs the whole interval on one side of 1', async (t) => {
  t.equal(verdict(estimate([1.1, 1.2, 1.3, 1.2, 1.1]), 5), 'faster')
  t.equal(verdict(estimate([0.9, 0.8, 0.95, 0.9, 0.99]), 5), 'slower')
  t.equal(verdict(estimate([0.99, 1.2, 1.3, 1.2, 1.1]), 5), 'same', 'one round on the other side is noise')
  t.equal(verdict(estimate([1, 1, 1, 1, 1]), 5), 'same')
  t.equal(verdict(estimate([2, 3, 2, 3]), 4), 'same', 'and so many rounds as prove something')
})

t.test('spread is half of the interval by the median', async (t) => {
  t.equal(relativeSpread(estimate([9, 10, 11])), 0.1)
  t.equal(relativeSpread(estimate([0, 0])), 0)
})
