/** Things that a share remembers because its guest asked for them. */
export type MemoryUse = 'directories' | 'locks' | 'waiting' | 'places'

/** Memory in bytes, as shown by `ctl state`. */
export interface MemoryReport extends Readonly<Record<MemoryUse, number>> {
  readonly total: number
  readonly limit: number
}

const MIB = 1024 * 1024

/** Limits on the memory that one share's guest can make this process keep, inodes and handles excluded. */
const limits: Readonly<Record<MemoryUse, number>> = {
  directories: 8 * MIB,
  locks: 4 * MIB,
  waiting: 2 * MIB,
  places: 8 * MIB,
}

/** Counts the memory that a guest can make a share hold, and enforces the limits. */
export class MemoryAccount {
  private readonly used: Record<MemoryUse, number> = { directories: 0, locks: 0, waiting: 0, places: 0 }

  /** Returns true if this many more bytes fit. */
  hasRoom(use: MemoryUse, bytes: number): boolean {
    return this.used[use] + bytes <= limits[use]
  }

  /** Counts bytes now held. A negative number releases them. */
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
