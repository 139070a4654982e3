/** The type of an option's value, and its limits. */
export type ValueKind =
  | { readonly type: 'flag' }
  /** `takesNumbers`: in a file, a number need not be quoted. */
  | { readonly type: 'text'; readonly takesNumbers?: true }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  | { readonly type: 'count'; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly type: 'seconds' }
  /** The option may be given several times. */
  | { readonly type: 'list' }

export const flag = { type: 'flag' } as const satisfies ValueKind
export const text = { type: 'text' } as const satisfies ValueKind
export const amount = { type: 'text', takesNumbers: true } as const satisfies ValueKind
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
 * Where an option may stand besides the command line. 'rule': in a rule or a share. 'share': in a share. 'process':
 * in the file, for the whole process. 'command line': nowhere else.
 */
export type Scope = 'rule' | 'share' | 'process' | 'command line'

/** One option. */
export interface OptionSpec {
  /** The long option, and its key in `--share` and in the file. A single letter is a short option. */
  readonly name: string
  /** Other names for the same option. */
  readonly aliases?: readonly string[]
  /** The name of the value in --help. */
  readonly argument?: string
  readonly kind: ValueKind
  readonly scope: Scope
  /** The effect; where possible, the effect on the guest. */
  readonly text: string
  /** The default in the notation of the command line; a flag without one is false. */
  readonly default?: string | boolean
  /** Help shows the flag as `--no-NAME`, because it is true by default. */
  readonly negated?: true
  /** The value if it is left out; undefined: the value is required. */
  readonly bare?: string
  /** Another option that this one sets, and its value. */
  readonly means?: readonly [name: string, value: string]
  /** Why this option of virtiofsd has no effect here. Logged when the option is given. */
  readonly ignored?: string
}

/** The option as typed: `--name`, or `-n`. */
export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

/** Returns true if an option may stand in a place. */
export function allowedIn(spec: OptionSpec, place: 'share' | 'rule'): boolean {
  return spec.scope === 'rule' || spec.scope === place
}
