/** The words that start a program: `command`, then `args`, then the caller's own arguments. */
export interface Program {
  command: string
  args: string[]
  env?: Record<string, string>
}
