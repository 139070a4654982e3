/** A time in which operations of a case ran at once, on the clock of `performance.timeOrigin + performance.now()`. */
export interface Race {
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Keeps the times in which a case's operations race. Requests of one opcode that are sent in such a time come in any order:
 * even a kernel that takes operations one by one may take any of them next.
 */
export class Races {
  private readonly done: Race[] = []
  private running = 0
  private most = 0
  private fromMs = 0

  /** An operation starts. */
  begin(): void {
    if (this.running === 0) {
      this.fromMs = now()
      this.most = 0
    }
    this.running++
    this.most = Math.max(this.most, this.running)
  }

  /** This many operations have ended. */
  end(operations: number): void {
    if (operations === 0) return
    this.running -= operations
    if (this.running === 0 && this.most > 1) this.done.push({ fromMs: this.fromMs, toMs: now() })
  }

  get all(): readonly Race[] {
    return this.done
  }
}

function now(): number {
  return performance.timeOrigin + performance.now()
}
