import { hasName } from '../basics/has-name.js'
import { nearestName } from '../basics/nearest-name.js'
import { commandTable } from '../config/command-table.js'
import { UserError } from '../config/user-error.js'
import { changeCommands, ownCommands, shareCommands } from '../control/control-commands.js'
import { bashCompletion, type CommandWords } from '../reference/bash-completion.js'
import { fishCompletion } from '../reference/fish-completion.js'
import { zshCompletion } from '../reference/zsh-completion.js'
import { parseArguments, subcommand } from './subcommand.js'

const shells = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }

const words: CommandWords = {
  completion: Object.keys(shells),
  ctl: Object.keys({ ...ownCommands, ...changeCommands, ...shareCommands }),
}

const after = `For this bash:  source <(virtiofsd-ts completion bash)
For zsh:        virtiofsd-ts completion zsh > _virtiofsd-ts, in a folder of $fpath
For fish:       virtiofsd-ts completion fish > ~/.config/fish/completions/virtiofsd-ts.fish`

/** `virtiofsd-ts completion`. Throws UserError. */
export function runCompletion(args: readonly string[]): void {
  const command = subcommand('virtiofsd-ts completion', 'Prints the completion script for a shell.', after)
    .usage('bash|zsh|fish')
    .argument('<shell>')
  if (!parseArguments(command, args)) return
  const [shell = ''] = command.args
  if (!hasName(shells, shell)) {
    const known = Object.keys(shells)
    throw new UserError(
      `completion: no script for '${shell}'${nearestName(shell, known)}: there are ${known.join(', ')}`,
    )
  }
  process.stdout.write(shells[shell](commandTable, words))
}
