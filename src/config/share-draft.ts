import type { OpenRule } from '../io-mode/open-rules.js'
import type { OptionName } from './option-table.js'
import type { OptionValues } from './option-values.js'

/** A share as written, before it is checked as a whole. */
export interface ShareDraft {
  /** The options given for the share. */
  readonly values: OptionValues
  /** Returns where an option was given, for messages: "--cache", or "shares.toml:7: cache". */
  where(option: OptionName): string
  readonly rules: readonly OpenRule[]
}
