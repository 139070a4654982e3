import type { OptionSpec, OptionValue } from './option-spec.js'
import { UserError } from './user-error.js'

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
      if (typeof raw === 'number' && kind.takesNumbers) return `${raw}`
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
          `${where}: '${raw}' is not a whole number (${kind.unit}) from ${kind.min} to ${kind.max}`,
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
