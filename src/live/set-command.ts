import { messageOf } from '../basics/errors.js'
import { nearestName } from '../basics/nearest-name.js'
import { cacheChoices } from '../config/cache-options.js'
import type { OptionValue } from '../config/option-spec.js'
import { type OptionName, optionsByName } from '../config/option-table.js'
import { OptionValues } from '../config/option-values.js'
import type { LogLevel } from '../config/options/process-options.js'
import { UserError } from '../config/user-error.js'
import { compileGlob, type OpenRule } from '../io-mode/open-rules.js'
import type { ShareConfig } from '../share/share-config.js'
import { changeable, remedyFor } from './setting-changes.js'

/** What `set` changes. */
export interface SetPlan {
  readonly config: ShareConfig
  /** Undefined: the level of the log stays. */
  readonly logLevel: LogLevel | undefined
  /** The options that take effect with the next mount. */
  readonly atNextMount: readonly OptionName[]
}

/**
 * Reads the argument of `set`: an object of options and values, as in the configuration file, and `rules`, a list of
 * such objects with `match`. Throws UserError.
 */
export function planSet(config: ShareConfig, argument: unknown): SetPlan {
  const values = new OptionValues()
  let next = config
  const atNextMount: OptionName[] = []
  for (const [key, value] of Object.entries(objectOf(argument, 'set'))) {
    if (key === 'rules') {
      next = { ...next, rules: rulesOf(value) }
      continue
    }
    const option = readOption(values, key, value)
    if (option === 'log-level') continue
    if (optionsByName.get(option)?.scope === 'process')
      throw new UserError(`set: ${key} is for the whole process: replace the process`)
    const setting = changeable.get(option)
    if (setting === undefined)
      throw new UserError(`set: ${key} cannot change in a share that runs: ${remedyFor(option)}`)
    next = { ...next, [setting.name]: values.get(option) }
    if (setting.effect === 'mount') atNextMount.push(option)
  }
  return { config: next, logLevel: values.get('log-level'), atNextMount }
}

/** Reads one option into `values`. Returns its name. */
function readOption(values: OptionValues, key: string, value: unknown): OptionName {
  const spec = optionsByName.get(key)
  if (spec === undefined)
    throw new UserError(`set: unknown option '${key}'${nearestName(key, [...changeable.keys()])}`)
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
    throw new UserError(`set: ${key} is text, a number, true or false`)
  const raw: OptionValue = value
  values.read(spec, raw, `set: ${key}`)
  return spec.name
}

function rulesOf(value: unknown): readonly OpenRule[] {
  if (!Array.isArray(value)) throw new UserError('set: rules is a list of objects')
  return value.map(ruleOf)
}

function ruleOf(value: unknown): OpenRule {
  const { match, 'read-only': readOnly, 'o-direct': oDirect, ...options } = objectOf(value, 'set: a rule')
  if (typeof match !== 'string') throw new UserError('set: a rule needs match, a glob')
  try {
    compileGlob(match)
  } catch (error) {
    throw new UserError(`set: bad glob '${match}': ${messageOf(error)}`)
  }
  const values = new OptionValues()
  for (const [key, option] of Object.entries(options)) {
    if (optionsByName.get(key)?.scope !== 'rule') throw new UserError(`set: '${key}' is for a whole share`)
    readOption(values, key, option)
  }
  return {
    match,
    readOnly: conditionOf('read-only', readOnly),
    oDirect: conditionOf('o-direct', oDirect),
    source: 'set',
    choices: cacheChoices(values),
  }
}

function conditionOf(name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw new UserError(`set: ${name} is true or false`)
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UserError(`${what} takes an object of options`)
  // The object may have any fields: each is checked when it is read.
  return value as Readonly<Record<string, unknown>>
}
