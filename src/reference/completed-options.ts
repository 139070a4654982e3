import type { OptionSpec } from '../config/option-spec.js'
import { optionTable } from '../config/option-table.js'
import { typedForms } from '../config/option-text.js'

/** What a shell can offer for an option's value. */
export type Offer =
  | { readonly type: 'words'; readonly words: readonly string[] }
  | { readonly type: 'directories' | 'files' | 'groups' | 'nothing' }

/** An option as shells see it. */
export interface CompletedOption {
  readonly spec: OptionSpec
  /** Every way to type it, with dashes. Forms that switch off what is off already are left out. */
  readonly forms: readonly string[]
  /** Undefined: it takes no value. */
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

/** The value must follow: an option that may stand alone takes one only after `=`. */
export function needsValue({ spec, offer }: CompletedOption): boolean {
  return offer !== undefined && spec.bare === undefined
}
