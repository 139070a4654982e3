/**
 * The process behind the launcher, with only the privileges it needs. The descriptor in its first argument says what
 * to serve.
 */

import { closeSync, readFileSync } from 'node:fs'
import { messageOf } from './basics/errors.js'
import { exitWithError } from './exit-with-error.js'
import { placeOf, successionFd } from './live/succession.js'
import { Successor } from './live/successor.js'
import { inheritedFd } from './sandbox/inherited-fd.js'
import { readInheritance, type ServerPlan } from './sandbox/launch.js'
import { leaveOldRoot } from './sandbox/own-process.js'
import { type ServerLinks, startServer } from './server.js'
import { ClaimedSockets, inheritedSockets } from './sockets/listening-sockets.js'

async function main(): Promise<void> {
  const stateFd = Number(process.argv[2])
  const sealFd = Number(process.env['VIRTIOFSD_TS_SEAL_FD'])
  const links = {
    procFd: Number(process.env['VIRTIOFSD_TS_PROC_FD']),
    handoverFd: inheritedFd('VIRTIOFSD_TS_HANDOVER_FD'),
    mountsFd: inheritedFd('VIRTIOFSD_TS_MOUNTS_FD'),
    successor: undefined,
  }
  const { sockets, ...plan } = readInheritance(readFileSync(stateFd))
  closeSync(stateFd)
  const leave = () => {
    if (plan.confinement.sandbox !== 'none') leaveOldRoot(sealFd)
  }
  const succession = successionFd()
  if (succession !== undefined) succeed(plan, links, new Successor(succession), leave)
  else if (sockets === undefined)
    startServer(plan, links, () => new ClaimedSockets(plan.configuration), leave)
  else {
    const { shareFds, controlFd, metricsFd } = sockets
    startServer(plan, links, () => inheritedSockets(shareFds, controlFd, metricsFd), leave)
  }
}

/** Starts to serve in the place of the process that serves. */
function succeed(plan: ServerPlan, links: ServerLinks, successor: Successor, leave: () => void): void {
  try {
    const { controlFd, metricsFd, mountsFd = links.mountsFd } = successor.accept(placeOf(plan.configuration))
    startServer(
      plan,
      { ...links, mountsFd, successor },
      () => inheritedSockets([], controlFd, metricsFd),
      leave,
    )
  } catch (error) {
    successor.refuse(messageOf(error))
  }
}

main().catch(exitWithError)
