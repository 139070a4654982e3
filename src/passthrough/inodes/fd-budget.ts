/**
 * How many descriptors a share may hold. Counts those that a guest can make it open, so that a guest which opens without
 * end is told so, and the process keeps what it needs for itself.
 */
export class FdBudget {
  private used = 0

  constructor(private readonly limit: number) {}

  take(): void {
    this.used++
  }

  give(): void {
    this.used--
  }

  get left(): number {
    return Math.max(0, this.limit - this.used)
  }
}
