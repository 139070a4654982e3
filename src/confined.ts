/** The process inside a sandbox: started by the launcher, told what to serve by the descriptor in its first argument. */

import { closeSync, readFileSync } from 'node:fs'
import { makeLogger } from './log/log.js'
import { readInheritance } from './sandbox/launch.js'
import { exitNow, leaveOldRoot } from './sandbox/own-process.js'
import { Server } from './server.js'
import { inheritedSockets } from './sockets/listening-sockets.js'
import { ServiceManager } from './sockets/service-manager.js'

const EXIT_FAILURE = 1

async function main(): Promise<void> {
  const stateFd = Number(process.argv[2])
  const sealFd = Number(process.env['VIRTIOFSD_TS_SEAL_FD'])
  const inheritance = readInheritance(readFileSync(stateFd))
  const { configuration, confinement, shareFds, controlFd, syslogFd, socketFiles } = inheritance
  closeSync(stateFd)
  const server = new Server(
    configuration,
    confinement,
    inheritedSockets(shareFds, controlFd, socketFiles),
    makeLogger(configuration.logLevel, syslogFd),
    syslogFd !== undefined,
    new ServiceManager(inheritance.managerLink),
    Number(process.env['VIRTIOFSD_TS_PROC_FD']),
  )
  server.start(() => {
    if (confinement.sandbox !== 'none') leaveOldRoot(sealFd)
  })
}

main().catch((error: unknown) => {
  process.stderr.write(`virtiofsd-ts: ${error instanceof Error ? error.stack : error}\n`)
  exitNow(EXIT_FAILURE)
})
