import { flag, list, type OptionSpec } from '../option-spec.js'

/** Options for command lines that were written for virtiofsd: older forms, and options that have no effect here. */
export const compatibilityOptions = [
  {
    name: 'o',
    argument: 'words',
    kind: list,
    scope: 'command line',
    text: 'options in the notation of older virtiofsds, such as source=DIR,cache=none,no_xattr; a comma in a value is doubled',
  },
  {
    name: 'd',
    kind: flag,
    scope: 'command line',
    text: 'the same as --log-level debug',
    means: ['log-level', 'debug'],
  },
  {
    name: 'f',
    kind: flag,
    scope: 'command line',
    text: 'accepted without effect: the program always stays in the foreground',
    ignored: 'the program always stays in the foreground',
  },
] as const satisfies readonly OptionSpec[]
