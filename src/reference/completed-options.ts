import type { OptionSpec } from '../config/option-spec.js'
import { optionTable } from '../config/option-table.js'
import { typedForms } from '../config/option-text.js'

/** The kind of value that a shell offers for an option. */
export type Offer =
  | { readonly type: 'words'; readonly words: readonly string[] }
  | { readonly type: 'directories' | 'files' | 'groups' | 'nothing' }

/** An option as a shell's completion needs it. */
export interface CompletedOption {
  readonly spec: OptionSpec
  /**
   * Every way to type the option, with dashes. A form that switches off an option that is off by default is
   * left out.
   */
  readonly forms: readonly string[]
  /** Undefined: the option takes no value. */
  readonly offer: Offer | undefined
}

const offersByArgument: Readonly<Record<string, Offer>> = {
  dir: { type: 'directories' },
  file: { type: 'files' },
  path: { type: 'files' },
  socket: { type: 'files' },
  group: { type: 'groups' },
}

export const completedOptions: readonly CompletedOption[] = optionTable.map((spec) => ({
  spec,
  forms: typedForms(spec).filter((form) => spec.scope !== 'command line' || !form.startsWith('--no-')),
  offer: offerOf(spec),
}))

function offerOf({ kind, argument }: OptionSpec): Offer | undefined {
  if (kind.type === 'flag') return undefined
  if (kind.type === 'choice') return { type: 'words', words: kind.choices }
  return offersByArgument[argument ?? ''] ?? { type: 'nothing' }
}

/** Returns true if the option requires a value. An option with an optional value takes it only after `=`. */
export function needsValue({ spec, offer }: CompletedOption): boolean {
  return offer !== undefined && spec.bare === undefined
}
