import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { nearestName } from '../basics/nearest-name.js'
import { commandTable } from './command-table.js'
import { type Configuration, configure } from './configuration.js'
import { GivenOptions } from './given-options.js'
import { dashed, type OptionSpec } from './option-spec.js'
import { optionGroups, optionsByName } from './option-table.js'
import { notesOf } from './option-text.js'
import { UserError } from './user-error.js'

const commandsBeside = `Commands beside serving, each with a --help of its own:
${commandTable.map(({ name, text }) => `  ${name.padEnd(13)}  ${text}`).join('\n')}`

export function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  // The file is our own package.json.
  return (JSON.parse(manifest) as { version: string }).version
}

/** The purpose of a command line, for help, and the arguments it takes besides the options. */
export interface Purpose {
  readonly description: string
  /** The arguments, such as "[PATH [FLAGS]]", and their greatest number. */
  readonly usage: string
  readonly max: number
  /** The end of the help text. */
  readonly after: string
  /** False if the options are those of another command line, which lists them. */
  readonly listsOptions: boolean
}

const serving: Purpose = {
  description: 'Serves host directories to QEMU guests as virtio-fs devices.',
  usage: '',
  max: 0,
  after: commandsBeside,
  listsOptions: true,
}

/** The configuration, and the arguments that are not options. */
export interface Parsed {
  readonly configuration: Configuration
  readonly positionals: readonly string[]
}

/**
 * Reads the arguments after the program's (or subcommand's) name. Returns undefined after it has printed help or the
 * version on request. Throws UserError.
 */
export function parseCommandLine(
  args: readonly string[],
  name = 'virtiofsd-ts',
  purpose: Purpose = serving,
): Parsed | undefined {
  const read = readOptions(args, name, purpose)
  return read && { configuration: configure(read.given), positionals: read.positionals }
}

/** Reads the options without the file that they may name, as `parseCommandLine` does. */
export function readOptions(
  args: readonly string[],
  name = 'virtiofsd-ts',
  purpose: Purpose = serving,
): { readonly given: GivenOptions; readonly positionals: readonly string[] } | undefined {
  const given = new GivenOptions()
  const program = command(given, name, purpose)
  try {
    program.parse(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw new UserError(describe(error))
  }
  const extra = program.args[purpose.max]
  if (extra !== undefined) throw new UserError(`unexpected argument '${extra}': options begin with --`)
  return { given, positionals: program.args }
}

function command(given: GivenOptions, name: string, purpose: Purpose): Command {
  const { usage, description, after, listsOptions } = purpose
  const program = new Command(name)
    .description(description)
    .usage(`--shared-dir DIR --socket-path SOCKET [options] ${usage}`.trimEnd())
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(true)
    .exitOverride()
    .addHelpText('after', `\n${after}`)
  for (const { title, options } of optionGroups) {
    program.optionsGroup(`${title}:`)
    for (const spec of options) addOption(program, spec, given)
  }
  if (!listsOptions) for (const option of program.options) option.hideHelp()
  return program
}

function addOption(program: Command, spec: OptionSpec, given: GivenOptions): void {
  if (spec.name === 'help') program.helpOption('-h, --help', spec.text)
  else if (spec.name === 'version') program.version(version(), '-V, --version', spec.text)
  else if (spec.kind.type === 'flag') addFlag(program, spec, given)
  else for (const name of namesOf(spec)) addValue(program, spec, name, given)
}

function namesOf({ name, aliases = [] }: OptionSpec): readonly string[] {
  return [name, ...aliases]
}

/** Adds a flag and its negation; help shows the form that changes something. */
function addFlag(program: Command, spec: OptionSpec, given: GivenOptions): void {
  for (const name of namesOf(spec)) {
    for (const on of name.length === 1 ? [true] : [true, false]) {
      const typed = on ? dashed(name) : `--no-${name}`
      const shown = name === spec.name && on !== (spec.negated ?? false)
      program.addOption(new Option(typed, helpText(spec)).hideHelp(!shown))
      program.on(`option:${on ? name : `no-${name}`}`, () => given.set(name, on, typed))
    }
  }
}

function addValue(program: Command, spec: OptionSpec, name: string, given: GivenOptions): void {
  const { argument, bare } = spec
  const typed = dashed(name)
  const flags = `${typed} ${bare === undefined ? `<${argument}>` : `[${argument}]`}`
  program.addOption(new Option(flags, helpText(spec)).hideHelp(name !== spec.name))
  program.on(`option:${name}`, (value: string | null) => given.set(name, value ?? bare ?? '', typed))
}

function helpText(spec: OptionSpec): string {
  const notes = notesOf(spec)
  return notes.length === 0 ? spec.text : `${spec.text} (${notes.join('; ')})`
}

/** Describes commander's error in our words. */
function describe({ code, message }: CommanderError): string {
  const plain = message.replace(/^error: /, '').replaceAll('\n', ' ')
  const [, quoted = ''] = /'([^']+)'/.exec(plain) ?? []
  if (code === 'commander.optionMissingArgument') {
    const [option, value] = quoted.split(' ')
    return `${option} needs a value: ${value}`
  }
  if (code !== 'commander.unknownOption') return plain
  const [typed = '', value] = quoted.split('=')
  if (value !== undefined && optionsByName.has(typed.replace(/^--(no-)?/, '')))
    return `${typed} takes no value: '${value}'`
  // Treats -help as --help, and never suggests an option of one letter.
  const sought = typed.replace(/^-(?=[^-].)/, '--')
  const known = [...optionsByName.keys()].filter((name) => name.length > 1).map(dashed)
  return `unknown option '${typed}'${nearestName(sought, known)}`
}
