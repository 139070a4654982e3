import type { OptionSpec } from './option-spec.js'
import { UserError } from './user-error.js'

/** What an option was given, by its name; only options that were given. */
export type OptionValue = string | number | boolean | readonly string[]

export type OptionValues = Map<string, OptionValue>

/**
 * Reads one value, as text from the command line or typed from a file. `where` begins the message: an option's spelling,
 * or a file and line. Throws UserError.
 */
export function readValue(spec: OptionSpec, raw: OptionValue, where: string): OptionValue {
  const { kind } = spec
  switch (kind.type) {
    case 'flag':
      if (raw === true || raw === 'true' || raw === 'on' || raw === 'yes') return true
      if (raw === false || raw === 'false' || raw === 'off' || raw === 'no') return false
      throw new UserError(`${where}: '${raw}' is neither true nor false`)
    case 'text':
      if (typeof raw !== 'string' || raw === '')
        throw new UserError(`${where}: expected some text, got '${raw}'`)
      return raw
    case 'choice': {
      const choice = typeof raw === 'string' ? raw.toLowerCase() : ''
      if (kind.choices.includes(choice)) return choice
      throw new UserError(`${where}: '${raw}' is not one of ${kind.choices.join(', ')}`)
    }
    case 'count': {
      const value = Number(raw)
      if (!/^\d+$/.test(String(raw)) || value < kind.min || value > kind.max) {
        throw new UserError(
          `${where}: '${raw}' is not a whole number of ${kind.unit} from ${kind.min} to ${kind.max}`,
        )
      }
      return value
    }
    case 'seconds': {
      const value = Number(raw)
      if (typeof raw === 'boolean' || !/^\d+(\.\d+)?$/.test(String(raw)) || value > 0xffffffff) {
        throw new UserError(`${where}: '${raw}' is not a number of seconds`)
      }
      return value
    }
    case 'list': {
      const words = Array.isArray(raw) ? raw : [raw]
      if (!words.every((word) => typeof word === 'string' && word !== '')) {
        throw new UserError(`${where}: expected some text, got '${raw}'`)
      }
      return words
    }
  }
}

/** The names nearest to a mistyped one, for a message: " (did you mean ...?)", or nothing. */
export function nearestName(name: string, known: Iterable<string>): string {
  const ranked = [...known]
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.max(2, candidate.length / 3))
    .sort((a, b) => a.distance - b.distance)
  return ranked[0] === undefined ? '' : ` (did you mean ${ranked[0].candidate}?)`
}

/** Insertions, deletions and substitutions that make one of the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, n) => n)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, row[j] + 1, next[j - 1] + 1))
    }
    row = next
  }
  return row[b.length]
}
