import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'

/** A descriptor that stays open while system calls use it, even after the guest has released it. */
export class HeldFd {
  private users = 1

  /** Takes over `fd` and one place of `budget`, which must have room. */
  constructor(
    readonly fd: number,
    protected readonly budget: FdBudget,
  ) {
    budget.take()
  }

  /** Returns true if a system call also holds it. */
  get isShared(): boolean {
    return this.users > 1
  }

  /** One more system call uses it. Returns false if it has been given up meanwhile, by another thread. */
  hold(): boolean {
    this.users++
    return true
  }

  /** A system call has returned, or the guest has released the descriptor. */
  release(): void {
    if (--this.users === 0) this.close()
  }

  protected close(): void {
    native.close(this.fd)
    this.budget.give()
  }
}
