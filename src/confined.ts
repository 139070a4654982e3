/**
 * The process behind the launcher, with only the privileges it needs. The descriptor in its first argument says what
 * to serve.
 */

import { closeSync, readFileSync } from 'node:fs'
import { exitWithError } from './exit-with-error.js'
import { successionFd } from './live/succession.js'
import { Successor } from './live/successor.js'
import { inheritedFd } from './sandbox/inherited-fd.js'
import { readInheritance } from './sandbox/launch.js'
import { leaveOldRoot } from './sandbox/own-process.js'
import { startServer } from './server.js'
import { ClaimedSockets, inheritedSockets } from './sockets/listening-sockets.js'

async function main(): Promise<void> {
  const stateFd = Number(process.argv[2])
  const sealFd = Number(process.env['VIRTIOFSD_TS_SEAL_FD'])
  const succession = successionFd()
  const links = {
    procFd: Number(process.env['VIRTIOFSD_TS_PROC_FD']),
    handoverFd: inheritedFd('VIRTIOFSD_TS_HANDOVER_FD'),
    mountsFd: inheritedFd('VIRTIOFSD_TS_MOUNTS_FD'),
    successor: succession === undefined ? undefined : new Successor(succession),
  }
  const { sockets, ...plan } = readInheritance(readFileSync(stateFd))
  closeSync(stateFd)
  const leave = () => {
    if (plan.confinement.sandbox !== 'none') leaveOldRoot(sealFd)
  }
  if (sockets === undefined) {
    startServer(plan, links, () => new ClaimedSockets(plan.configuration), leave)
    return
  }
  const { shareFds, controlFd, metricsFd, mountsFd = links.mountsFd } = sockets
  startServer(plan, { ...links, mountsFd }, () => inheritedSockets(shareFds, controlFd, metricsFd), leave)
}

main().catch(exitWithError)
