#!/usr/bin/env node
/** virtiofsd-ts: parses the command line, listens, and runs the threads that serve. */
import type { Logger } from 'pino'
import * as native from 'virtiofsd-ts-native'
import { type Configuration, parseCommandLine } from './config/command-line.js'
import { qemuArguments } from './config/qemu-arguments.js'
import { UserError } from './config/user-error.js'
import { startShare } from './device/share-thread.js'
import type { WorkerMessage } from './device/worker-messages.js'
import { makeLogger } from './log.js'
import { claimSocket } from './socket-claim.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

/** Open files that the process keeps for itself, whatever guests open. */
const RESERVED_FILES = 256

/** Ends the process at once: a share's thread may be blocked in the host's file system and cannot be waited for. */
function exit(status: number): never {
  native.exitNow(status)
}

function serve({ share, fileLimit }: Configuration, log: Logger): void {
  const fdLimit = native.setFileLimit(fileLimit) - RESERVED_FILES
  const claim = claimSocket(share.socketPath)
  const end = (status: number): never => {
    claim.release()
    exit(status)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      log.info({ signal }, 'ending')
      end(0)
    })
  }
  startShare(
    { config: share, listenFd: claim.listenFd, fdLimit },
    {
      message(message: WorkerMessage) {
        switch (message.type) {
          case 'log':
            log[message.level](message.fields, message.text)
            break
          case 'listening':
            log.info(
              { directory: share.directory, qemu: qemuArguments(share) },
              'ready: attach this share with these QEMU arguments',
            )
            break
          case 'ended':
            end(0)
        }
      },
      failed(error: Error) {
        log.fatal({ err: error }, 'the share failed')
        end(EXIT_FAILURE)
      },
    },
  )
}

async function main(): Promise<void> {
  const configuration = parseCommandLine(process.argv.slice(2))
  if (configuration === undefined) return
  serve(configuration, await makeLogger(configuration.logLevel))
}

main().catch((error: unknown) => {
  if (error instanceof UserError) {
    process.stderr.write(`virtiofsd-ts: ${error.message}\n`)
    exit(EXIT_USAGE)
  }
  process.stderr.write(`virtiofsd-ts: ${error instanceof Error ? error.stack : error}\n`)
  exit(EXIT_FAILURE)
})
