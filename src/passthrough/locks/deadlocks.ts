import { EAGAIN, EDEADLK } from 'virtio-fs-ts/protocol'
import { UNTIL_WOKEN } from '../waiting-requests.js'
import type { LockTable } from './lock-table.js'
import { isSameOwner, type OwnedRange, type Owner } from './owned-ranges.js'

/** The most owners of a circle that is noticed. Linux looks as far. */
const MOST_IN_CIRCLE = 10

/** A lock that is waited for. `wanted` is undefined for a flock. */
interface Wanted {
  readonly attempt: () => number
  readonly wanted: OwnedRange | undefined
}

/** Finds owners in the guest that would wait for each other's record locks for ever. */
export class Deadlocks {
  constructor(
    private readonly table: LockTable,
    private readonly waits: () => Iterable<Wanted>,
  ) {}

  /** Returns true if the holder of a lock waits, perhaps through others, for the owner who wants it. */
  closes(wanted: OwnedRange): boolean {
    let holder = this.table.holderInWayOf(wanted)
    for (let n = 0; n < MOST_IN_CIRCLE && holder !== undefined; n++) {
      if (isSameOwner(holder, wanted)) return true
      const next = this.waitOf(holder)
      holder = next && this.table.holderInWayOf(next)
    }
    return false
  }

  /** Returns the attempt of a waiting request, which gets EDEADLK if its lock has a new holder that waits for it. */
  watched({ attempt, wanted }: Wanted): () => number {
    if (wanted === undefined) return attempt
    let holder = this.table.holderInWayOf(wanted)
    return () => {
      const result = attempt()
      if (!isTaken(result)) return result
      const before = holder
      holder = this.table.holderInWayOf(wanted)
      const isNew = holder !== undefined && (before === undefined || !isSameOwner(holder, before))
      return isNew && this.closes(wanted) ? -EDEADLK : result
    }
  }

  /** The record lock that an owner waits for. */
  private waitOf(owner: Owner): OwnedRange | undefined {
    for (const { wanted } of this.waits())
      if (wanted !== undefined && isSameOwner(wanted, owner)) return wanted
    return undefined
  }
}

/** Returns true for the result of an attempt that may succeed later. */
export function isTaken(result: number): boolean {
  return result === -EAGAIN || result === UNTIL_WOKEN
}
