import { nearestName } from '../basics/nearest-name.js'
import type { OptionSpec } from './option-spec.js'
import { optionsByName } from './option-table.js'
import { UserError } from './user-error.js'

/** One option that `-o` gave. */
export interface CompatibleWord {
  readonly name: string
  readonly raw: string | boolean
}

/** Words of `-o` that are not an option's name with `_` for `-`. */
const words: Readonly<Record<string, readonly string[]>> = {
  source: ['shared-dir'],
  loglevel: ['log-level'],
  timeout: ['entry-timeout', 'attr-timeout'],
}

/** Values of `-o` that have another name today. */
const values: Readonly<Record<string, string>> = { 'cache=none': 'never', 'log-level=err': 'error' }

/** Words that never had an effect: access and permissions are decided by the guest's mount. */
const meaningless = new Set(['allow_root', 'default_permissions', 'no_default_permissions'])

/**
 * Reads the words of `-o`, the notation of virtiofsd before it had long options: separated by commas, `_` for `-`,
 * `no_` for off, a comma inside a value doubled. Throws UserError.
 */
export function parseCompatibleWords(text: string): readonly CompatibleWord[] {
  return splitAtCommas(text).flatMap(readWord)
}

/** Splits at single commas; two commas stand for one inside a word. */
export function splitAtCommas(text: string): string[] {
  return (text.match(/(?:[^,]|,,)+/g) ?? []).map((word) => word.replaceAll(',,', ','))
}

function readWord(word: string): CompatibleWord[] {
  const [key = '', value] = word.split(/=(.*)/s)
  if (meaningless.has(key)) return []
  if (key === 'debug' && value === undefined) return [{ name: 'log-level', raw: 'debug' }]
  const off = value === undefined && key.startsWith('no_') && optionOf(key) === undefined
  const names = words[key] ?? [(off ? key.slice(3) : key).replaceAll('_', '-')]
  return names.map((name) => {
    const spec = optionsByName.get(name)
    if (spec === undefined || spec.scope === 'command line') {
      throw new UserError(`-o: unknown option '${key}'${nearestName(key, knownWords())}`)
    }
    if (value === undefined) return { name, raw: off ? switchedOff(spec, key) : switchedOn(spec, key) }
    return { name, raw: values[`${name}=${value}`] ?? value }
  })
}

function optionOf(key: string): OptionSpec | undefined {
  return optionsByName.get(key.replaceAll('_', '-'))
}

function switchedOn(spec: OptionSpec, key: string): string | boolean {
  if (spec.kind.type === 'flag') return true
  if (spec.bare === undefined) throw new UserError(`-o: ${key} needs a value`)
  return spec.bare
}

function switchedOff(spec: OptionSpec, key: string): string | boolean {
  if (spec.kind.type === 'flag') return false
  if (spec.kind.type === 'choice' && spec.kind.choices.includes('never')) return 'never'
  throw new UserError(`-o: ${key} needs a value`)
}

function knownWords(): string[] {
  const options = [...optionsByName].filter(([, { scope }]) => scope !== 'command line')
  return [...Object.keys(words), ...options.map(([name]) => name.replaceAll('-', '_'))]
}
