/**
 * Every option, a file for each group in options/. The table drives the command line, `--share`, the configuration file,
 * and --help.
 */
import type { OptionSpec } from './option-spec.js'
import { cachingOptions } from './options/caching-options.js'
import { compatibilityOptions } from './options/compatibility-options.js'
import { generalOptions, severalShares } from './options/general-options.js'
import { inspectionOptions } from './options/inspection-options.js'
import { posixOptions } from './options/posix-options.js'
import { processOptions } from './options/process-options.js'
import { shareOptions } from './options/share-options.js'

/** Options as help shows them together. */
export interface OptionGroup {
  readonly title: string
  readonly options: readonly OptionSpec[]
}

export const optionGroups: readonly OptionGroup[] = [
  { title: 'Share', options: shareOptions },
  { title: 'Caching and I/O', options: cachingOptions },
  { title: 'Attributes, owners and locks', options: posixOptions },
  { title: 'Seeing and disturbing', options: inspectionOptions },
  { title: 'Process', options: processOptions },
  { title: 'Several shares', options: severalShares },
  { title: 'For command lines of virtiofsd', options: compatibilityOptions },
  { title: 'Other', options: generalOptions },
]

export const optionTable: readonly OptionSpec[] = optionGroups.flatMap(({ options }) => options)

/** Of every name and alias, its option. */
export const optionsByName: ReadonlyMap<string, OptionSpec> = new Map(
  optionTable.flatMap((spec) => [spec.name, ...(spec.aliases ?? [])].map((name) => [name, spec] as const)),
)
