import { readValue } from './option-reader.js'
import type { OptionValue } from './option-spec.js'
import {
  type ChosenValue,
  type OptionName,
  optionTable,
  type TableOption,
  type ValueOf,
} from './option-table.js'

/** The given options, by name. */
export class OptionValues {
  private readonly values = new Map<OptionName, OptionValue>()

  /**
   * Reads a value, as text or typed from a file, and stores it; a list grows. `where` begins the message. Throws
   * UserError.
   */
  read(spec: TableOption, raw: OptionValue, where: string): void {
    const value = readValue(spec, raw, where)
    const before = this.values.get(spec.name)
    const more = Array.isArray(value) && Array.isArray(before)
    this.values.set(spec.name, more ? [...before, ...value] : value)
  }

  has(name: OptionName): boolean {
    return this.values.has(name)
  }

  /** Returns the value, or undefined if the option was not given. */
  get<N extends OptionName>(name: N): ValueOf<N> | undefined {
    // `readValue` returned a value of the type in the table.
    return this.values.get(name) as ValueOf<N> | undefined
  }

  /** Returns these values, completed by the values of `others`. */
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

/** The given options, completed by the defaults. */
export class ChosenOptions {
  private readonly values: OptionValues

  constructor(given: OptionValues) {
    this.values = given.over(defaults)
  }

  get<N extends OptionName>(name: N): ChosenValue<N> {
    // The values include every default of the table; the type tells which options have none.
    return this.values.get(name) as ChosenValue<N>
  }
}

const defaults = new OptionValues()
for (const spec of optionTable) {
  const { type } = spec.kind
  const fallback = spec.default ?? (type === 'flag' ? false : type === 'list' ? [] : undefined)
  if (fallback !== undefined) defaults.read(spec, fallback, spec.name)
}
