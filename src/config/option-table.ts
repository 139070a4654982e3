/**
 * Every option; options/ has a file for each group. The table drives the command line, `--share`, the configuration
 * file, --help and the manual page. The names and value types follow from it: an unknown name does not compile.
 */
import type { OptionSpec, ValueOfKind } from './option-spec.js'
import { cachingOptions } from './options/caching-options.js'
import { compatibilityOptions } from './options/compatibility-options.js'
import { generalOptions, severalShares } from './options/general-options.js'
import { inspectionOptions } from './options/inspection-options.js'
import { limitOptions } from './options/limit-options.js'
import { migrationOptions } from './options/migration-options.js'
import { posixOptions } from './options/posix-options.js'
import { processOptions } from './options/process-options.js'
import { shareOptions } from './options/share-options.js'

const groups = [
  { title: 'Share', options: shareOptions },
  { title: 'Caching and I/O', options: cachingOptions },
  { title: 'Attributes, owners and locks', options: posixOptions },
  { title: 'Limits', options: limitOptions },
  { title: 'Migration', options: migrationOptions },
  { title: 'Inspection and fault injection', options: inspectionOptions },
  { title: 'Process', options: processOptions },
  { title: 'Several shares', options: severalShares },
  { title: 'For command lines of virtiofsd', options: compatibilityOptions },
  { title: 'Other', options: generalOptions },
] as const

type Entry = (typeof groups)[number]['options'][number]

export type OptionName = Entry['name']

/** The entry of an option. */
type EntryOf<N extends OptionName> = Extract<Entry, { readonly name: N }>

/** The type of an option's value. */
export type ValueOf<N extends OptionName> = ValueOfKind<EntryOf<N>['kind']>

/** The type of an option's value after defaults are filled in. Includes undefined if the option has no default. */
export type ChosenValue<N extends OptionName> =
  | ValueOf<N>
  | (EntryOf<N> extends { readonly default: string | boolean } | { readonly kind: { type: 'flag' | 'list' } }
      ? never
      : undefined)

/** An option of the table. */
export interface TableOption extends OptionSpec {
  readonly name: OptionName
}

/** Options that help shows together. */
export interface OptionGroup {
  readonly title: string
  readonly options: readonly TableOption[]
}

export const optionGroups: readonly OptionGroup[] = groups

export const optionTable: readonly TableOption[] = optionGroups.flatMap(({ options }) => options)

/** Maps every name and alias to its option. */
export const optionsByName: ReadonlyMap<string, TableOption> = new Map(
  optionTable.flatMap((spec) => [spec.name, ...(spec.aliases ?? [])].map((name) => [name, spec] as const)),
)
