import { readValue } from './option-reader.js'
import type { OptionValue } from './option-spec.js'
import {
  type ChosenValue,
  type OptionName,
  optionTable,
  type TableOption,
  type ValueOf,
} from './option-table.js'

/** What options were given, by their names. */
export class OptionValues {
  private readonly values = new Map<OptionName, OptionValue>()

  /** Reads a value, as text or typed from a file, and keeps it; a list grows. `where` begins the message. Throws UserError. */
  read(spec: TableOption, raw: OptionValue, where: string): void {
    const value = readValue(spec, raw, where)
    const before = this.values.get(spec.name)
    const more = Array.isArray(value) && Array.isArray(before)
    this.values.set(spec.name, more ? [...before, ...value] : value)
  }

  has(name: OptionName): boolean {
    return this.values.has(name)
  }

  /** The value, or undefined for an option that was not given. */
  get<N extends OptionName>(name: N): ValueOf<N> | undefined {
    // `readValue` has made it a value of the kind that the table says.
    return this.values.get(name) as ValueOf<N> | undefined
  }

  /** These values; where an option was not given, the value of `others`. */
  over(others: OptionValues): OptionValues {
    const all = new OptionValues()
    for (const [name, value] of [...others.values, ...this.values]) all.values.set(name, value)
    return all
  }

  without(names: readonly OptionName[]): OptionValues {
    const fewer = new OptionValues()
    for (const [name, value] of this.values) if (!names.includes(name)) fewer.values.set(name, value)
    return fewer
  }
}

/** What options amount to: what was given for them, or their defaults. */
export class ChosenOptions {
  private readonly values: OptionValues

  constructor(given: OptionValues) {
    this.values = given.over(defaults)
  }

  get<N extends OptionName>(name: N): ChosenValue<N> {
    // Every default of the table is among the values; the type says which options have none.
    return this.values.get(name) as ChosenValue<N>
  }
}

const defaults = new OptionValues()
for (const spec of optionTable) {
  const { type } = spec.kind
  const fallback = spec.default ?? (type === 'flag' ? false : type === 'list' ? [] : undefined)
  if (fallback !== undefined) defaults.read(spec, fallback, spec.name)
}
