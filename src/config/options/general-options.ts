import { flag, list, type OptionSpec, text } from '../option-spec.js'

/** How more than one share is described. */
export const severalShares = [
  {
    name: 'share',
    argument: 'words',
    kind: list,
    scope: 'command line',
    text: 'comma-separated options, such as tag=a,path=DIR,socket=SOCK,cache=never; may be repeated',
  },
  {
    name: 'config',
    argument: 'file',
    kind: text,
    scope: 'command line',
    text: 'TOML file with [[share]] and [[share.rule]]; the command line wins over it',
  },
] as const satisfies readonly OptionSpec[]

/** What is answered at once. */
export const generalOptions = [
  {
    name: 'print-capabilities',
    kind: flag,
    scope: 'command line',
    text: 'print what libvirt asks vhost-user programs for, whatever else is given, and end',
  },
  { name: 'version', aliases: ['V'], kind: flag, scope: 'command line', text: 'print the version' },
  { name: 'help', aliases: ['h'], kind: flag, scope: 'command line', text: 'show this help' },
] as const satisfies readonly OptionSpec[]
