/** Returns the median of some numbers; NaN for none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Interpolates linearly between the values. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = fraction * (sorted.length - 1)
  const low = sorted[Math.floor(at)]
  const high = sorted[Math.ceil(at)]
  if (low === undefined || high === undefined) return Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

/** Returns the distance from the median that holds half of the values, as a fraction of the median. */
export function spread(values: readonly number[]): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / median(values)
}

/** Returns the geometric mean of ratios. */
export function geometricMean(ratios: readonly number[]): number {
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
}

/** The median of some numbers, and bounds for the true median. */
export interface Estimate {
  median: number
  /** A confidence interval of the median that assumes no distribution: two of the sorted numbers. */
  low: number
  high: number
}

/** Tells if a ratio to the peer is above or below 1 beyond noise. */
export type Verdict = 'faster' | 'same' | 'slower'

/**
 * The least probability that an interval holds the true median. Five numbers reach it with their least and greatest.
 */
const CONFIDENCE = 0.9
export const ROUNDS_FOR_VERDICT = 5

/** Median and interval of at least one number. */
export function estimate(numbers: readonly number[]): Estimate {
  if (numbers.length === 0) throw new RangeError('no numbers to estimate from')
  const sorted = [...numbers].sort((a, b) => a - b)
  const cut = intervalRank(sorted.length)
  return { median: median(sorted), low: sorted[cut]!, high: sorted[sorted.length - 1 - cut]! }
}

/** Returns ours over the peer's, pair by pair: disturbances of both in a pair cancel out. */
export function ratios(ours: readonly number[], peer: readonly number[]): number[] {
  if (ours.length !== peer.length) throw new RangeError(`${ours.length} and ${peer.length} are no pairs`)
  return ours.map((number, n) => number / peer[n]!)
}

/** Judges `rounds` pairs. Fewer than ROUNDS_FOR_VERDICT prove nothing. */
export function verdict({ low, high }: Estimate, rounds: number): Verdict {
  if (rounds < ROUNDS_FOR_VERDICT) return 'same'
  if (low > 1) return 'faster'
  return high < 1 ? 'slower' : 'same'
}

/** Returns half of the interval as a fraction of the median: 0.05 for "plus or minus 5 %". */
export function relativeSpread({ median, low, high }: Estimate): number {
  return median === 0 ? 0 : (high - low) / 2 / median
}

/** Returns how many numbers may be left out at each end. The true median is below each with probability one half. */
function intervalRank(count: number): number {
  let rank = 0
  let outside = 2 * binomial(count, 0)
  while (rank + 1 < count / 2) {
    const next = outside + 2 * binomial(count, rank + 1)
    if (next > 1 - CONFIDENCE) break
    outside = next
    rank++
  }
  return rank
}

/** Returns the probability of `heads` heads in `count` throws of a fair coin. */
function binomial(count: number, heads: number): number {
  let ways = 1
  for (let n = 1; n <= heads; n++) ways *= (count - n + 1) / n
  return ways / 2 ** count
}
