import { UserError } from './user-error.js'

/** A range of the host's users or groups, and their ids in a user namespace. */
export interface IdRange {
  readonly inside: number
  readonly outside: number
  readonly count: number
}

const END = 2 ** 32 - 1
const MAX_RANGES = 64

/**
 * Reads the values of `--uid-map` or `--gid-map`: ":INSIDE:OUTSIDE:COUNT:", with any character in place of the colon.
 * Throws UserError.
 */
export function parseIdMap(option: string, values: readonly string[]): readonly IdRange[] {
  if (values.length > MAX_RANGES) throw new UserError(`${option}: more than ${MAX_RANGES} ranges`)
  const ranges = values.map((value) => parseRange(option, value))
  ranges.forEach((range, n) => {
    for (const other of ranges.slice(0, n)) {
      if (
        overlap(range.inside, other.inside, range, other) ||
        overlap(range.outside, other.outside, range, other)
      )
        throw new UserError(`${option} ${values[n]}: overlaps with another range`)
    }
  })
  return ranges
}

function parseRange(option: string, value: string): IdRange {
  const [, , inside, outside, count] = /^(\D)(\d+)\1(\d+)\1(\d+)\1$/.exec(value) ?? []
  if (count === undefined) {
    throw new UserError(
      `${option} ${value}: not of the form :INSIDE:OUTSIDE:COUNT:, such as :0:100000:65536:`,
    )
  }
  const range = { inside: Number(inside), outside: Number(outside), count: Number(count) }
  if (range.count === 0 || range.inside + range.count > END || range.outside + range.count > END) {
    throw new UserError(`${option} ${value}: ids are from 0 to ${END - 1}, and a range has one or more`)
  }
  return range
}

function overlap(
  start: number,
  otherStart: number,
  { count }: IdRange,
  { count: otherCount }: IdRange,
): boolean {
  return start < otherStart + otherCount && otherStart < start + count
}

/** Returns the range that maps this process's user or group to itself. */
export function onlyItself(id: number): readonly IdRange[] {
  return [{ inside: id, outside: id, count: 1 }]
}
