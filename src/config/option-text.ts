import { dashed, type OptionSpec } from './option-spec.js'

/** The option as help shows it: `--cache <mode>`, `--no-readdirplus`, `--syslog[=<socket>]`. */
export function shownForm({ name, argument, bare, negated }: OptionSpec): string {
  const typed = negated ? `--no-${name}` : dashed(name)
  if (argument === undefined) return typed
  return bare === undefined ? `${typed} <${argument}>` : `${typed}[=<${argument}>]`
}

/** The option's allowed values unless its text has them, default and other names. */
export function notesOf({
  kind,
  text,
  default: fallback,
  bare,
  aliases = [],
}: OptionSpec): readonly string[] {
  return [
    ...(kind.type === 'choice' && !explainsEach(text, kind.choices)
      ? [`one of ${kind.choices.join(', ')}`]
      : []),
    ...(typeof fallback === 'string' ? [`default ${fallback}`] : []),
    ...(bare === undefined ? [] : [`${bare} when no value is given`]),
    ...(aliases.length === 0 ? [] : [`also ${aliases.map(dashed).join(', ')}`]),
  ]
}

/** Returns true if the text explains every value, as in "never: nothing; always: everything". */
function explainsEach(text: string, choices: readonly string[]): boolean {
  return choices.every((choice) => text.includes(`${choice}:`))
}

/** Every way to type the option. */
export function typedForms({ name, aliases = [], kind }: OptionSpec): readonly string[] {
  const names = [name, ...aliases]
  const off = kind.type === 'flag' ? names.filter((one) => one.length > 1).map((one) => `--no-${one}`) : []
  return [...names.map(dashed), ...off]
}
