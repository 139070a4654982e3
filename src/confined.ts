/**
 * The process behind the launcher, with only the privileges it needs. The descriptor in its first argument says what
 * to serve.
 */

import { closeSync, readFileSync } from 'node:fs'
import { exitWithError } from './exit-with-error.js'
import { inheritedFd } from './sandbox/inherited-fd.js'
import { readInheritance } from './sandbox/launch.js'
import { leaveOldRoot } from './sandbox/own-process.js'
import { startServer } from './server.js'
import { Broker } from './sockets/broker.js'
import { ClaimedSockets, inheritedSockets } from './sockets/listening-sockets.js'

async function main(): Promise<void> {
  const stateFd = Number(process.argv[2])
  const sealFd = Number(process.env['VIRTIOFSD_TS_SEAL_FD'])
  const brokerFd = inheritedFd('VIRTIOFSD_TS_BROKER_FD')
  const links = {
    procFd: Number(process.env['VIRTIOFSD_TS_PROC_FD']),
    handoverFd: inheritedFd('VIRTIOFSD_TS_HANDOVER_FD'),
    broker: brokerFd === undefined ? undefined : new Broker(brokerFd),
  }
  const { sockets, ...plan } = readInheritance(readFileSync(stateFd))
  closeSync(stateFd)
  startServer(
    plan,
    links,
    () =>
      sockets === undefined
        ? new ClaimedSockets(plan.configuration)
        : inheritedSockets(sockets.shareFds, sockets.controlFd, sockets.metricsFd),
    () => {
      if (plan.confinement.sandbox !== 'none') leaveOldRoot(sealFd)
    },
  )
}

main().catch(exitWithError)
