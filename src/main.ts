#!/usr/bin/env node
/** virtiofsd-ts: serves shares, or runs a subcommand. */
import { hasName } from './basics/has-name.js'
import { nearestName } from './basics/nearest-name.js'
import { capabilitiesReport } from './commands/capabilities-report.js'
import { parseCommandLine } from './config/command-line.js'
import type { CommandName } from './config/command-table.js'
import { UserError } from './config/user-error.js'
import { exitWithError } from './exit-with-error.js'
import { SUCCESSION_VARIABLE } from './live/succession-variable.js'

/** The subcommands, by first argument, loaded on demand. Without a subcommand the program serves. */
const commands: Readonly<Record<CommandName, (args: readonly string[]) => Promise<void> | void>> = {
  'check-config': async (args) => (await import('./commands/check-config.js')).runCheckConfig(args),
  ctl: async (args) => (await import('./commands/ctl.js')).runCtl(args),
  top: async (args) => (await import('./commands/top.js')).runTop(args),
  trace: async (args) => (await import('./commands/trace.js')).runTrace(args),
  bench: async (args) => (await import('./commands/bench.js')).runBench(args),
  completion: async (args) => (await import('./commands/completion.js')).runCompletion(args),
}

/** Loaded separately: only serving needs the addon. */
async function serve(args: readonly string[]): Promise<void> {
  try {
    const parsed = parseCommandLine(args)
    if (parsed === undefined) return
    const { startServing } = await import('./start.js')
    await startServing(parsed.configuration, args)
  } catch (error) {
    if (process.env[SUCCESSION_VARIABLE] !== undefined) (await import('./start.js')).refuseSuccession(error)
    throw error
  }
}

async function main(args: readonly string[]): Promise<void> {
  const [first, ...rest] = args
  // libvirt asks this way, whatever else is on its command line.
  if (args.includes('--print-capabilities')) process.stdout.write(capabilitiesReport())
  else if (first === undefined)
    throw new UserError('--shared-dir DIR --socket-path SOCKET serves a directory; --help lists all options')
  else if (first === 'help') await serve(['--help'])
  else if (first.startsWith('-')) await serve(args)
  else if (hasName(commands, first)) await commands[first](rest)
  else {
    const names = Object.keys(commands)
    throw new UserError(
      `there is no command '${first}'${nearestName(first, names)}: there are ${names.join(', ')}, and options begin with --`,
    )
  }
}

// A reader such as head may close the pipe early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

main(process.argv.slice(2)).catch(exitWithError)
