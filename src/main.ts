#!/usr/bin/env node
/** virtiofsd-ts: serves, or carries out one of the commands beside serving. */
import { capabilitiesReport } from './commands/capabilities-report.js'
import { parseCommandLine } from './config/command-line.js'
import type { CommandName } from './config/command-table.js'
import { nearestName } from './config/nearest-name.js'
import { UserError } from './config/user-error.js'
import { planConfinement } from './sandbox/confinement.js'
import { exitNow, limitFiles, openOwnDescriptors } from './sandbox/own-process.js'
import { connectDatagram } from './sockets/connect-datagram.js'
import { ClaimedSockets } from './sockets/listening-sockets.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

/** Commands by their first argument; without one of these the program serves. Loaded when they are asked for. */
const commands: Readonly<Record<CommandName, (args: readonly string[]) => Promise<void> | void>> = {
  'check-config': async (args) => (await import('./commands/check-config.js')).runCheckConfig(args),
  ctl: async (args) => (await import('./commands/ctl.js')).runCtl(args),
  trace: async (args) => (await import('./commands/trace.js')).runTrace(args),
  bench: async (args) => (await import('./commands/bench.js')).runBench(args),
  completion: async (args) => (await import('./commands/completion.js')).runCompletion(args),
}

async function serve(args: readonly string[]): Promise<void> {
  const parsed = parseCommandLine(args)
  if (parsed === undefined) return
  const { configuration } = parsed
  const { syslog, logLevel, fileLimit } = configuration
  const starter = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const confinement = planConfinement(configuration, starter)
  const syslogFd = syslog === undefined ? undefined : connectDatagram(syslog)
  const sockets = new ClaimedSockets(configuration)
  // Without a sandbox, root still has privileges to lose.
  if (confinement.sandbox !== 'none' || starter.uid === 0) {
    // Inside, the limit cannot be raised any more.
    limitFiles(fileLimit)
    const { becomeConfined } = await import('./sandbox/launch.js')
    becomeConfined({ configuration, confinement, syslogFd }, sockets, args)
  }
  const [{ makeLogger }, { Server }] = await Promise.all([import('./log/log.js'), import('./server.js')])
  const log = makeLogger(logLevel, syslogFd)
  const procFd = openOwnDescriptors()
  new Server(configuration, confinement, sockets, log, syslogFd !== undefined, procFd).start(() => {})
}

async function main(args: readonly string[]): Promise<void> {
  const [first, ...rest] = args
  // libvirt asks so, whatever else is on its command line.
  if (args.includes('--print-capabilities')) process.stdout.write(capabilitiesReport())
  else if (first === undefined)
    throw new UserError('--shared-dir DIR --socket-path SOCKET serves a directory, --help tells the rest')
  else if (first === 'help') await serve(['--help'])
  else if (first.startsWith('-')) await serve(args)
  else if (Object.hasOwn(commands, first)) await commands[first as CommandName](rest)
  else {
    const names = Object.keys(commands)
    throw new UserError(
      `there is no command '${first}'${nearestName(first, names)}: there are ${names.join(', ')}, and options begin with --`,
    )
  }
}

// Who reads no further, as head does, has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  exitNow(0)
})

main(process.argv.slice(2)).catch((error: unknown) => {
  const usage = error instanceof UserError
  const text = usage ? error.message : error instanceof Error ? error.stack : error
  process.stderr.write(`virtiofsd-ts: ${text}\n`)
  exitNow(usage ? EXIT_USAGE : EXIT_FAILURE)
})
