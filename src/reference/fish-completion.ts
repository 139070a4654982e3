import type { CommandSpec } from '../config/command-table.js'
import type { CommandWords } from './bash-completion.js'
import { type CompletedOption, completedOptions, needsValue, type Offer } from './completed-options.js'

const offers: Record<Exclude<Offer['type'], 'words'>, string> = {
  directories: " -a '(__fish_complete_directories)'",
  files: ' -F',
  groups: " -a '(__fish_complete_groups)'",
  nothing: '',
}

/** The completion script for fish: `virtiofsd-ts completion fish | source`. */
export function fishCompletion(commands: readonly CommandSpec[], words: CommandWords): string {
  const names = commands.map(({ name }) => name).join(' ')
  return `# fish completion for virtiofsd-ts, made by "virtiofsd-ts completion fish"
complete -c virtiofsd-ts -f -n '__fish_use_subcommand'
${commands
  .map(
    ({ name, text }) =>
      `complete -c virtiofsd-ts -f -n '__fish_use_subcommand' -a ${name} -d ${quoted(text)}`,
  )
  .join('\n')}
${Object.entries(words).map(commandLine).join('\n')}
${completedOptions.flatMap((option) => optionLines(option, names)).join('\n')}
`
}

function optionLines(option: CompletedOption, commands: string): string[] {
  const condition = `-n 'not __fish_seen_subcommand_from ${commands}'`
  return option.forms.map((form) => {
    const name = form.startsWith('--') ? `-l ${form.slice(2)}` : `-s ${form.slice(1)}`
    return `complete -c virtiofsd-ts ${condition} ${name}${offeredValue(option)} -d ${quoted(option.spec.text)}`
  })
}

function offeredValue(option: CompletedOption): string {
  const { offer } = option
  if (offer === undefined) return ''
  // If the value is optional, fish offers it only after `=`.
  const needed = needsValue(option) ? (offer.type === 'files' ? ' -r' : ' -x') : ''
  const values = offer.type === 'words' ? ` -a '${offer.words.join(' ')}'` : offers[offer.type]
  return needed + values
}

function commandLine([name, words]: [string, readonly string[]]): string {
  return `complete -c virtiofsd-ts -f -n '__fish_seen_subcommand_from ${name}' -a '${words.join(' ')}'`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
