/** A share of the lab: its options as in a configuration file, and a rule for some of its files. */
export interface OptionSet {
  /** Its mount tag and its name in tables. */
  readonly name: ShareName
  readonly options: Readonly<Record<string, string | boolean>>
  /** Other options for read-only opens of matching files. */
  readonly readOnlyRule?: {
    readonly match: string
    readonly options: Readonly<Record<string, string | boolean>>
  }
}

export type ShareName =
  | 'direct'
  | 'parallel'
  | 'mmap'
  | 'parallel+mmap'
  | 'direct-noasync'
  | 'parallel-noasync'
  | 'metadata'
  | 'auto'
  | 'keep'
  | 'always'
  | 'writeback'

const cachedReaders = { match: 'io-mode-cached-open*', options: { cache: 'auto' } }

/** All combinations of options that cases need. A guest gets one device for each, so it boots only once. */
export const OPTION_SETS: readonly OptionSet[] = [
  { name: 'direct', options: { cache: 'never' } },
  { name: 'parallel', options: { cache: 'never', 'parallel-dio': true }, readOnlyRule: cachedReaders },
  { name: 'mmap', options: { cache: 'never', 'allow-mmap': true } },
  {
    name: 'parallel+mmap',
    options: { cache: 'never', 'parallel-dio': true, 'allow-mmap': true },
    readOnlyRule: cachedReaders,
  },
  { name: 'direct-noasync', options: { cache: 'never', 'init-off': 'ASYNC_DIO' } },
  { name: 'parallel-noasync', options: { cache: 'never', 'parallel-dio': true, 'init-off': 'ASYNC_DIO' } },
  { name: 'metadata', options: { cache: 'metadata' } },
  { name: 'auto', options: { cache: 'auto' } },
  { name: 'keep', options: { cache: 'auto', 'keep-cache': true } },
  { name: 'always', options: { cache: 'always' } },
  { name: 'writeback', options: { cache: 'auto', writeback: true } },
]

export function optionSet(name: ShareName): OptionSet {
  return OPTION_SETS.find((set) => set.name === name)!
}

/** As on the command line: "--cache never --parallel-dio". */
export function optionWords({ options, readOnlyRule }: OptionSet): string {
  const words = wordsOf(options)
  if (readOnlyRule === undefined) return words
  return `${words}, and ${wordsOf(readOnlyRule.options)} for read-only opens of ${readOnlyRule.match}`
}

function wordsOf(options: OptionSet['options']): string {
  return Object.entries(options)
    .map(([name, value]) => (value === true ? `--${name}` : `--${name} ${value}`))
    .join(' ')
}
