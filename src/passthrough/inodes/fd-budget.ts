/**
 * Limits the descriptors of a share. It counts those that a guest can make it open: a guest that opens without end gets an
 * error, and the process keeps the descriptors it needs for itself.
 */
export class FdBudget {
  used = 0

  /** More may be in use when `limit` is lowered: then none is left until enough are closed. */
  constructor(public limit: number) {}

  take(): void {
    this.used++
  }

  give(count = 1): void {
    this.used -= count
  }

  get left(): number {
    return Math.max(0, this.limit - this.used)
  }
}
