/**
 * Limits the descriptors of a share. It counts those that a guest can make it open: a guest that opens without end gets an
 * error, and the process keeps the descriptors it needs for itself.
 */
export class FdBudget {
  private taken = 0
  private readonly word: Int32Array

  /** `limit`: a number, or a word that any thread may change. More may be in use when it is lowered. */
  constructor(limit: number | Int32Array) {
    this.word = typeof limit === 'number' ? Int32Array.of(limit) : limit
  }

  /** The number of descriptors. */
  get used(): number {
    return this.taken
  }

  get limit(): number {
    return this.word[0]
  }

  take(): void {
    this.taken++
  }

  give(count = 1): void {
    this.taken -= count
  }

  get left(): number {
    return Math.max(0, this.limit - this.used)
  }
}
