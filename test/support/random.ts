import type { Test } from 'tap'

/** Pseudorandom numbers, the same for the same seed. */
export class Random {
  constructor(private state: number) {}

  /** An integer from 0 up to, not including, `end`. */
  below(end: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let word = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * end)
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]
  }
}

/** Makes a random sequence for a test, the same each time unless TEST_SEED is set; prints the seed. */
export function seeded(t: Test): Random {
  const { TEST_SEED = '20260101' } = process.env
  const seed = Number(TEST_SEED)
  t.comment(`TEST_SEED=${seed}`)
  return new Random(seed)
}
