import { flag, list, type OptionSpec, text } from '../option-spec.js'

/** Options that describe more than one share. */
export const severalShares = [
  {
    name: 'share',
    argument: 'words',
    kind: list,
    scope: 'command line',
    text: 'options of one share, separated by commas, such as tag=a,path=DIR,socket=SOCK,cache=never; may be repeated',
  },
  {
    name: 'config',
    argument: 'file',
    kind: text,
    scope: 'command line',
    text: 'TOML file with [[share]] and [[share.rule]]; the command line overrides it',
  },
] as const satisfies readonly OptionSpec[]

/** Options that print something and end. */
export const generalOptions = [
  {
    name: 'print-capabilities',
    kind: flag,
    scope: 'command line',
    text: 'print the capabilities that libvirt asks of vhost-user programs, ignoring other options, and exit',
  },
  { name: 'version', aliases: ['V'], kind: flag, scope: 'command line', text: 'print the version' },
  { name: 'help', aliases: ['h'], kind: flag, scope: 'command line', text: 'show this help' },
] as const satisfies readonly OptionSpec[]
