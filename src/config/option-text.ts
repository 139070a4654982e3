import { dashed, type OptionSpec } from './option-spec.js'

/** The option as help shows it: `--cache <mode>`, `--no-readdirplus`, `--syslog[=<socket>]`. */
export function shownForm({ name, argument, bare, negated }: OptionSpec): string {
  const typed = negated ? `--no-${name}` : dashed(name)
  if (argument === undefined) return typed
  return bare === undefined ? `${typed} <${argument}>` : `${typed}[=<${argument}>]`
}

/** The option's allowed values, default and other names. */
export function notesOf({ kind, default: fallback, bare, aliases = [] }: OptionSpec): readonly string[] {
  return [
    ...(kind.type === 'choice' ? [`one of ${kind.choices.join(', ')}`] : []),
    ...(typeof fallback === 'string' ? [`default ${fallback}`] : []),
    ...(bare === undefined ? [] : [`${bare} when no value is given`]),
    ...(aliases.length === 0 ? [] : [`also ${aliases.map(dashed).join(', ')}`]),
  ]
}

/** Every way to type the option. */
export function typedForms({ name, aliases = [], kind }: OptionSpec): readonly string[] {
  const names = [name, ...aliases]
  const off = kind.type === 'flag' ? names.filter((one) => one.length > 1).map((one) => `--no-${one}`) : []
  return [...names.map(dashed), ...off]
}
