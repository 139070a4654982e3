/** Places in each ring of each share. */
export const RING_SIZE = 1024

/** A share of the lab: its options as in a configuration file, and a rule for some of its files. */
export interface OptionSet {
  /** Its mount tag and its name in tables. */
  readonly name: ShareName
  readonly options: ShareOptions
  /** Of the virtio-fs device. Default 1. */
  readonly requestQueues?: number
  /** Other options for some opens of matching files: the read-only ones, or those with the guest's O_DIRECT. */
  readonly rules?: readonly OptionRule[]
}

/** Options of virtiofsd-ts, and `passthrough`, which a server on /dev/fuse alone can have. */
export interface ShareOptions {
  readonly cache?: 'never' | 'metadata' | 'auto' | 'always'
  readonly 'parallel-dio'?: boolean
  readonly 'allow-mmap'?: boolean
  readonly 'keep-cache'?: boolean
  readonly 'init-off'?: 'ASYNC_DIO'
  readonly writeback?: boolean
  readonly xattr?: boolean
  readonly 'posix-lock'?: boolean
  readonly flock?: boolean
  /** Seconds. */
  readonly 'entry-timeout'?: number
  readonly 'attr-timeout'?: number
  readonly 'negative-timeout'?: number
  readonly passthrough?: boolean
}

export interface OptionRule {
  readonly match: string
  readonly 'read-only'?: true
  readonly 'o-direct'?: true
  readonly options: ShareOptions
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
  | 'names'
  | 'modes'
  | 'passthrough'

const CACHED_READERS: readonly OptionRule[] = [
  { match: 'io-mode-cached-open*', 'read-only': true, options: { cache: 'auto' } },
]
/** Each open chooses its mode: with O_RDONLY cached, with O_DIRECT direct, else parallel. */
const MODES: readonly OptionRule[] = [
  { match: 'transition*', 'read-only': true, options: { cache: 'auto' } },
  { match: 'transition*', 'o-direct': true, options: { 'parallel-dio': false } },
]

/** All combinations of options that cases need. A guest gets one device for each, so it boots only once. */
export const OPTION_SETS: readonly OptionSet[] = [
  { name: 'direct', options: { cache: 'never' } },
  { name: 'parallel', options: { cache: 'never', 'parallel-dio': true }, rules: CACHED_READERS },
  { name: 'mmap', options: { cache: 'never', 'allow-mmap': true } },
  {
    name: 'parallel+mmap',
    options: { cache: 'never', 'parallel-dio': true, 'allow-mmap': true },
    rules: CACHED_READERS,
  },
  { name: 'direct-noasync', options: { cache: 'never', 'init-off': 'ASYNC_DIO' } },
  {
    name: 'parallel-noasync',
    options: { cache: 'never', 'parallel-dio': true, 'init-off': 'ASYNC_DIO' },
  },
  { name: 'metadata', options: { cache: 'metadata' }, requestQueues: 2 },
  { name: 'auto', options: { cache: 'auto' } },
  { name: 'keep', options: { cache: 'auto', 'keep-cache': true } },
  { name: 'always', options: { cache: 'always' } },
  { name: 'writeback', options: { cache: 'auto', writeback: true } },
  {
    name: 'names',
    options: {
      cache: 'auto',
      'entry-timeout': 86_400,
      'attr-timeout': 0,
      'negative-timeout': 86_400,
      xattr: true,
      'posix-lock': true,
      flock: true,
    },
  },
  {
    name: 'modes',
    options: { cache: 'never', 'parallel-dio': true, 'allow-mmap': true },
    rules: MODES,
  },
  {
    name: 'passthrough',
    options: {
      cache: 'never',
      'attr-timeout': 86_400,
      'parallel-dio': true,
      'allow-mmap': true,
      passthrough: true,
    },
  },
]

export function optionSet(name: ShareName): OptionSet {
  return OPTION_SETS.find((set) => set.name === name)!
}

/** As on the command line: "--cache never --parallel-dio". */
export function optionWords({ options, rules = [] }: OptionSet): string {
  return [wordsOf(options), ...rules.map(ruleWords)].join(', and ')
}

function ruleWords(rule: OptionRule): string {
  const which = rule['read-only'] === true ? 'read-only opens' : "opens with the guest's O_DIRECT"
  return `${wordsOf(rule.options)} for ${which} of ${rule.match}`
}

function wordsOf(options: OptionSet['options']): string {
  return Object.entries(options)
    .map(([name, value]) =>
      value === true ? `--${name}` : `--${name}${value === false ? '=no' : ` ${value}`}`,
    )
    .join(' ')
}
