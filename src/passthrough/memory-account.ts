/** What a share remembers because its guest asked for it. */
export type MemoryUse = 'directories' | 'locks' | 'waiting' | 'places'

/** What `ctl state` says of it, in bytes. */
export interface MemoryReport extends Readonly<Record<MemoryUse, number>> {
  readonly total: number
  readonly limit: number
}

const MIB = 1024 * 1024

/** All that the guest of one share can make this process keep, beside its inodes and handles. */
const limits: Readonly<Record<MemoryUse, number>> = {
  directories: 8 * MIB,
  locks: 4 * MIB,
  waiting: 2 * MIB,
  places: 8 * MIB,
}

/** Counts the memory that a guest can make a share hold, and says when it is enough. */
export class MemoryAccount {
  private readonly used: Record<MemoryUse, number> = { directories: 0, locks: 0, waiting: 0, places: 0 }

  /** Returns true if so much more may be held. */
  hasRoom(use: MemoryUse, bytes: number): boolean {
    return this.used[use] + bytes <= limits[use]
  }

  /** Counts what is held from now on; a negative number is given back. */
  add(use: MemoryUse, bytes: number): void {
    this.used[use] += bytes
  }

  report(): MemoryReport {
    return { ...this.used, total: sum(this.used), limit: sum(limits) }
  }
}

function sum(bytes: Readonly<Record<MemoryUse, number>>): number {
  return Object.values(bytes).reduce((total, one) => total + one, 0)
}
