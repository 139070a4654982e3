#!/usr/bin/env node
/** virtiofsd-ts: parses the command line and serves. */
import * as native from 'virtiofsd-ts-native'
import { parseCommandLine } from './config/command-line.js'
import { UserError } from './config/user-error.js'
import { makeLogger } from './log.js'
import { Server } from './server.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

async function main(): Promise<void> {
  const parsed = parseCommandLine(process.argv.slice(2))
  if (parsed === undefined) return
  const { configuration } = parsed
  new Server(configuration, await makeLogger(configuration.logLevel)).start()
}

main().catch((error: unknown) => {
  const usage = error instanceof UserError
  const text = usage ? error.message : error instanceof Error ? error.stack : error
  process.stderr.write(`virtiofsd-ts: ${text}\n`)
  native.exitNow(usage ? EXIT_USAGE : EXIT_FAILURE)
})
