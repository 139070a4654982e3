/** A subcommand: the first argument names it. */
export interface CommandSpec {
  readonly name: string
  readonly text: string
}

export const commandTable = [
  { name: 'check-config', text: 'explain a configuration, and which rule wins for a path' },
  { name: 'ctl', text: 'query or change a running process, or make it fail on purpose' },
  { name: 'top', text: 'show what running shares do, second by second' },
  { name: 'trace', text: 'print what --trace recorded' },
  { name: 'bench', text: 'measure guest I/O beside another device (from a checkout)' },
  { name: 'completion', text: 'print the completion script for bash, zsh or fish' },
] as const satisfies readonly CommandSpec[]

export type CommandName = (typeof commandTable)[number]['name']
