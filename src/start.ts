/** Starts serving: becomes a confined process, or serves here with its own sockets. */
import { messageOf } from './basics/errors.js'
import type { Configuration } from './config/configuration.js'
import { successionFd } from './live/succession.js'
import { Successor } from './live/successor.js'
import { planConfinement } from './sandbox/confinement.js'
import { allowRings, limitFiles, openOwnDescriptors } from './sandbox/own-process.js'
import { putOffSignals } from './sandbox/signals.js'
import { connectDatagram } from './sockets/connect-datagram.js'
import { withInheritedPaths } from './sockets/inherited-paths.js'
import { ClaimedSockets } from './sockets/listening-sockets.js'
import { linkToManager } from './sockets/service-manager.js'

/** Serves, in this process or in the one that it becomes. `args` is the command line. Throws UserError. */
export async function startServing(asked: Configuration, args: readonly string[]): Promise<void> {
  const succession = successionFd()
  // A successor gets its sockets from the process that serves.
  const configuration = succession === undefined ? withInheritedPaths(asked) : asked
  const { syslog, fileLimit } = configuration
  const starter = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const confinement = planConfinement(configuration, starter)
  const syslogFd = syslog === undefined ? undefined : connectDatagram(syslog)
  // The keeper, which is known outside, starts a successor: see native/launcher/keeper.c.
  const pid = succession === undefined ? process.pid : process.ppid
  const managerLink = linkToManager(process.env, pid)
  const plan = { configuration, confinement, syslogFd, managerLink, pid }
  const { becomeConfined, becomeSuccessor, canChange } = await import('./sandbox/launch.js')
  if (succession !== undefined) {
    limitFiles(fileLimit)
    allowRings()
    putOffSignals()
    becomeSuccessor(plan, succession, args)
  }
  // Even without a sandbox, root has privileges to drop, and a process that can be changed needs a broker.
  if (confinement.sandbox !== 'none' || starter.uid === 0 || canChange(configuration)) {
    // Limits cannot be raised inside the confinement.
    limitFiles(fileLimit)
    allowRings()
    if (confinement.sandbox === 'none' && !canChange(configuration)) becomeConfined(plan, undefined, args)
    withSockets(configuration, (sockets) => becomeConfined(plan, sockets, args))
  }
  const { startServer } = await import('./server.js')
  startServer(
    plan,
    { procFd: openOwnDescriptors(), handoverFd: undefined, mountsFd: undefined, successor: undefined },
    () => new ClaimedSockets(configuration),
    () => {},
  )
}

/** Tells the process that serves why this one cannot be its successor. */
export function refuseSuccession(error: unknown): void {
  const fd = successionFd()
  if (fd !== undefined) new Successor(fd).refuse(messageOf(error))
}

/**
 * Makes sockets for a program in a sandbox, whose supervisor removes their files. Removes them here if it cannot
 * start.
 */
function withSockets(configuration: Configuration, become: (sockets: ClaimedSockets) => never): never {
  putOffSignals()
  const sockets = new ClaimedSockets(configuration)
  try {
    return become(sockets)
  } catch (error) {
    sockets.releaseAll()
    throw error
  }
}
