/** The process inside a sandbox: started by the launcher, told what to serve by the descriptor in its first argument. */
import { closeSync, readFileSync } from 'node:fs'
import * as native from 'virtiofsd-ts-native'
import { makeLogger } from './log/log.js'
import { readInheritance } from './sandbox/launch.js'
import { Server } from './server.js'
import { inheritedSockets } from './sockets/listening-sockets.js'
import { errnoName } from './virtio-fs/errno.js'

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
    await makeLogger(configuration.logLevel, syslogFd),
    syslogFd !== undefined,
    Number(process.env['VIRTIOFSD_TS_PROC_FD']),
  )
  server.start(() => {
    if (confinement.sandbox === 'none') return
    const result = native.sealRequest(sealFd)
    native.close(sealFd)
    if (result < 0) throw new Error(`the old root cannot be left: ${errnoName(-result)}`)
  })
}

main().catch((error: unknown) => {
  process.stderr.write(`virtiofsd-ts: ${error instanceof Error ? error.stack : error}\n`)
  native.exitNow(EXIT_FAILURE)
})
