/** A command beside serving: the first argument. */
export interface CommandSpec {
  readonly name: string
  readonly text: string
}

export const commandTable = [
  { name: 'check-config', text: 'what a configuration means, and which rule wins for a path' },
  { name: 'ctl', text: 'ask a running virtiofsd-ts, and disturb it on purpose' },
  { name: 'trace', text: 'print what --trace recorded' },
  { name: 'bench', text: 'measure guest I/O beside another device (from a checkout)' },
  { name: 'completion', text: 'print the completion script for bash, zsh or fish' },
] as const satisfies readonly CommandSpec[]

export type CommandName = (typeof commandTable)[number]['name']
