import { constants } from 'virtiofsd-ts-native'
import type { OpenFile } from '../files/open-file.js'

const { F_WRLCK } = constants

/** The last byte of a range without end. */
export const NO_END = Number.MAX_SAFE_INTEGER

/** Bytes of a file, from the first to the last. */
export interface ByteRange {
  readonly startByte: number
  readonly lastByte: number
}

/** Tells owners apart and has no other meaning. A process owns its POSIX locks, an open file its OFD locks. */
export interface Owner {
  readonly ownerLow: number
  readonly ownerHigh: number
}

/** A record lock that an owner in the guest holds or requests. */
export interface OwnedRange extends ByteRange, Owner {
  /** The handle through which the lock was taken. */
  readonly file: OpenFile
  /** F_RDLCK or F_WRLCK. */
  readonly type: number
  /** The guest's process that took the lock. */
  readonly pid: number
}

/** The same lock on other bytes. Lists the fields, because objects made by spreading are slow to read. */
function withBytes(range: OwnedRange, startByte: number, lastByte: number): OwnedRange {
  const { ownerLow, ownerHigh, file, type, pid } = range
  return { startByte, lastByte, ownerLow, ownerHigh, file, type, pid }
}

/**
 * The record locks of the guest on one file. Ranges of one owner never overlap. Ranges of two owners overlap only if both
 * are read locks.
 */
export class OwnedRanges {
  private ranges: OwnedRange[] = []

  get count(): number {
    return this.ranges.length
  }

  all(): readonly OwnedRange[] {
    return this.ranges
  }

  /** The lock of another owner that prevents `wanted`; of several, the one that begins first. */
  inWayOf(wanted: OwnedRange): OwnedRange | undefined {
    let first: OwnedRange | undefined
    for (const range of this.ranges) {
      const prevents =
        !isSameOwner(range, wanted) &&
        overlap(range, wanted) &&
        (range.type === F_WRLCK || wanted.type === F_WRLCK)
      if (prevents && (first === undefined || range.startByte < first.startByte)) first = range
    }
    return first
  }

  /** Records a lock without conflicts. It replaces the owner's locks on these bytes. */
  set(range: OwnedRange): void {
    if (!this.touchesOwn(range)) {
      this.ranges.push(range)
      return
    }
    this.cut(range, range)
    let { startByte, lastByte } = range
    // Adjacent locks of the same kind become one, as on a local file system.
    this.ranges = this.ranges.filter((other) => {
      const joins =
        isAlike(other, range) && other.lastByte + 1 >= startByte && other.startByte <= lastByte + 1
      if (joins) {
        startByte = Math.min(startByte, other.startByte)
        lastByte = Math.max(lastByte, other.lastByte)
      }
      return !joins
    })
    this.ranges.push(withBytes(range, startByte, lastByte))
  }

  /** Removes bytes from an owner's locks. Returns the parts that were locked. */
  cut(owner: Owner, bytes: ByteRange): ByteRange[] {
    const gone: ByteRange[] = []
    const kept: OwnedRange[] = []
    for (const range of this.ranges) {
      if (!isSameOwner(range, owner) || !overlap(range, bytes)) {
        kept.push(range)
        continue
      }
      const startByte = Math.max(range.startByte, bytes.startByte)
      const lastByte = Math.min(range.lastByte, bytes.lastByte)
      gone.push({ startByte, lastByte })
      if (range.startByte < startByte) kept.push(withBytes(range, range.startByte, startByte - 1))
      if (range.lastByte > lastByte) kept.push(withBytes(range, lastByte + 1, range.lastByte))
    }
    this.ranges = kept
    return gone
  }

  /** Returns true if an owner holds a lock that reaches beyond both ends of these bytes. */
  isInside(owner: Owner, { startByte, lastByte }: ByteRange): boolean {
    return this.ranges.some(
      (range) => isSameOwner(range, owner) && range.startByte < startByte && range.lastByte > lastByte,
    )
  }

  /** Removes and returns the locks for which `belongs` returns true. */
  remove(belongs: (range: OwnedRange) => boolean): OwnedRange[] {
    const gone = this.ranges.filter(belongs)
    if (gone.length > 0) this.ranges = this.ranges.filter((range) => !belongs(range))
    return gone
  }

  /** The parts of `bytes` that have no lock, or none of the given type, in order. */
  free({ startByte, lastByte }: ByteRange, type?: number): ByteRange[] {
    const parts: ByteRange[] = []
    let from = startByte
    const counted = this.ranges.filter((range) => type === undefined || range.type === type)
    for (const range of counted.sort((a, b) => a.startByte - b.startByte)) {
      if (range.startByte > lastByte) break
      if (range.startByte > from) parts.push({ startByte: from, lastByte: range.startByte - 1 })
      from = Math.max(from, range.lastByte + 1)
    }
    if (from <= lastByte) parts.push({ startByte: from, lastByte })
    return parts
  }

  /** Returns true if the owner of `range` holds a lock that overlaps or touches it. */
  private touchesOwn(range: OwnedRange): boolean {
    return this.ranges.some(
      (other) =>
        isSameOwner(other, range) &&
        other.lastByte + 1 >= range.startByte &&
        other.startByte <= range.lastByte + 1,
    )
  }
}

export function isSameOwner(a: Owner, b: Owner): boolean {
  return a.ownerLow === b.ownerLow && a.ownerHigh === b.ownerHigh
}

function overlap(a: ByteRange, b: ByteRange): boolean {
  return a.startByte <= b.lastByte && b.startByte <= a.lastByte
}

function isAlike(a: OwnedRange, b: OwnedRange): boolean {
  return isSameOwner(a, b) && a.type === b.type && a.file === b.file && a.pid === b.pid
}
