#!/usr/bin/env node
/** virtiofsd-ts: serves, or carries out one of the commands beside serving. */
import * as native from 'virtiofsd-ts-native'
import { parseCommandLine } from './config/command-line.js'
import { UserError } from './config/user-error.js'
import { ClaimedSockets } from './listening-sockets.js'
import { planConfinement } from './sandbox/confinement.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

/** Commands by their first argument; without one of these the program serves. Loaded when they are asked for. */
const commands: Readonly<Record<string, (args: readonly string[]) => Promise<void> | void>> = {
  'check-config': async (args) => (await import('./commands/check-config.js')).runCheckConfig(args),
  ctl: async (args) => (await import('./commands/ctl.js')).runCtl(args),
  trace: async (args) => (await import('./commands/trace.js')).runTrace(args),
}

async function serve(args: readonly string[]): Promise<void> {
  const parsed = parseCommandLine(args)
  if (parsed === undefined) return
  const { configuration } = parsed
  const confinement = planConfinement(configuration, process.geteuid?.() ?? 0)
  const sockets = new ClaimedSockets(configuration)
  if (confinement.sandbox !== 'none') {
    // Inside, the limit cannot be raised any more.
    native.setFileLimit(configuration.fileLimit)
    const { becomeConfined } = await import('./sandbox/launch.js')
    becomeConfined(configuration, confinement, sockets, args)
  }
  const [{ makeLogger }, { Server }] = await Promise.all([import('./log.js'), import('./server.js')])
  new Server(configuration, confinement, sockets, await makeLogger(configuration.logLevel)).start(() => {})
}

async function main([first, ...rest]: readonly string[]): Promise<void> {
  const command = first !== undefined && Object.hasOwn(commands, first) ? commands[first] : undefined
  await (command === undefined ? serve(process.argv.slice(2)) : command(rest))
}

// Who reads no further, as head does, has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  native.exitNow(0)
})

main(process.argv.slice(2)).catch((error: unknown) => {
  const usage = error instanceof UserError
  const text = usage ? error.message : error instanceof Error ? error.stack : error
  process.stderr.write(`virtiofsd-ts: ${text}\n`)
  native.exitNow(usage ? EXIT_USAGE : EXIT_FAILURE)
})
