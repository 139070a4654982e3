import type { OpenRule } from '../io-mode/open-rules.js'
import type { OptionName } from './option-table.js'
import type { OptionValues } from './option-values.js'

/** A share as it was written down, before it is checked as a whole. */
export interface ShareDraft {
  /** What was given for it. */
  readonly values: OptionValues
  /** Where an option was given, for messages: "--cache", or "shares.toml:7: cache". */
  where(option: OptionName): string
  readonly rules: readonly OpenRule[]
}
