import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'

/** A descriptor that stays open while system calls on it are under way, also when the guest has given it back. */
export class HeldFd {
  private users = 1

  /** Takes over `fd` and one place of `budget`, which has room for it. */
  constructor(
    readonly fd: number,
    protected readonly budget: FdBudget,
  ) {
    budget.take()
  }

  /** Returns true if somebody beside its owner holds it. */
  get isShared(): boolean {
    return this.users > 1
  }

  /** One more system call is under way. */
  hold(): void {
    this.users++
  }

  /** A system call has returned, or the guest has given the descriptor back. */
  release(): void {
    if (--this.users === 0) this.close()
  }

  protected close(): void {
    native.close(this.fd)
    this.budget.give()
  }
}
