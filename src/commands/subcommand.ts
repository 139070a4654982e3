import { Command, CommanderError } from 'commander'
import { UserError } from '../config/user-error.js'

/** Makes a subcommand for `parseArguments`. Its help begins with the description and ends with `after`. */
export function subcommand(name: string, description: string, after: string): Command {
  return new Command(name)
    .description(description)
    .helpOption('-h, --help', 'show this help')
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(true)
    .allowExcessArguments(false)
    .exitOverride()
    .addHelpText('after', `\n${after}`)
}

/**
 * Parses the arguments. Returns false if the user asked for help, which has been printed. Throws UserError.
 */
export function parseArguments(command: Command, args: readonly string[]): boolean {
  try {
    if (args.length === 0) command.help()
    command.parse(args, { from: 'user' })
    return true
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return false
    throw new UserError(`${command.name().split(' ').at(-1)}: ${describe(command, error)}`)
  }
}

/** Describes commander's error in our words. */
function describe(command: Command, { code, message }: CommanderError): string {
  const plain = message.replace(/^error: /, '').replaceAll('\n', ' ')
  const [, quoted = ''] = /'([^']+)'/.exec(plain) ?? []
  if (code === 'commander.missingArgument')
    return `<${quoted}> is missing: "${command.name()} --help" explains it`
  if (code === 'commander.missingMandatoryOptionValue') {
    const option = command.options.find(({ flags }) => flags === quoted)
    return `${quoted} is missing: ${option?.description}`
  }
  if (code !== 'commander.optionMissingArgument') return plain
  const [option, value] = quoted.split(' ')
  return `${option} needs a value: ${value}`
}
