/** How an option's value is read. */
export type ValueKind =
  | { readonly type: 'flag' }
  | { readonly type: 'text' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  | { readonly type: 'count'; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly type: 'seconds' }
  /** May be given several times. */
  | { readonly type: 'list' }

export const flag = { type: 'flag' } as const satisfies ValueKind
export const text = { type: 'text' } as const satisfies ValueKind
export const seconds = { type: 'seconds' } as const satisfies ValueKind
export const list = { type: 'list' } as const satisfies ValueKind

/** The type of the values that a kind reads. */
export type ValueOfKind<K extends ValueKind> = K extends { readonly type: 'flag' }
  ? boolean
  : K extends { readonly type: 'choice'; readonly choices: infer C extends readonly string[] }
    ? C[number]
    : K extends { readonly type: 'count' | 'seconds' }
      ? number
      : K extends { readonly type: 'list' }
        ? readonly string[]
        : string

/** A value of any option. */
export type OptionValue = string | number | boolean | readonly string[]

/**
 * Where an option may stand besides the command line: in a rule of a share and in a share, in a share, in the file for the
 * process alone, or nowhere.
 */
export type Scope = 'rule' | 'share' | 'process' | 'command line'

/** One option. */
export interface OptionSpec {
  /** The long option, and its key in `--share` and in the file. A single letter is a short option. */
  readonly name: string
  /** Other names that mean the same. */
  readonly aliases?: readonly string[]
  /** What the value is called in --help. */
  readonly argument?: string
  readonly kind: ValueKind
  readonly scope: Scope
  /** What it does; where it can be said so, what it does for the guest. */
  readonly text: string
  /** Written as on the command line; a flag without one is false. */
  readonly default?: string | boolean
  /** Help shows the flag as `--no-NAME`, because it is true without it. */
  readonly negated?: true
  /** The value may be left out: what it is then. */
  readonly bare?: string
  /** Another option that this one sets, and to what. */
  readonly means?: readonly [name: string, value: string]
  /** virtiofsd has the option, and here it changes nothing: why. Logged when it is given. */
  readonly ignored?: string
}

/** As it is typed: `--name`, or `-n`. */
export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

/** Returns true if an option may stand in a place. */
export function allowedIn(spec: OptionSpec, place: 'share' | 'rule'): boolean {
  return spec.scope === 'rule' || spec.scope === place
}
