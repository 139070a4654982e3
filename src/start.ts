/** Starts serving: becomes a confined process, or serves here with its own sockets. */
import { messageOf } from './basics/errors.js'
import { canChange } from './config/can-change.js'
import type { Configuration } from './config/configuration.js'
import { keyOf } from './live/share-key.js'
import { placeOf, successionFd } from './live/succession.js'
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
  if (succession !== undefined) return succeed(asked, succession, args)
  const configuration = withInheritedPaths(asked)
  const { syslog, fileLimit } = configuration
  const starter = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const confinement = planConfinement(configuration, starter)
  const syslogFd = syslog === undefined ? undefined : connectDatagram(syslog)
  const { pid } = process
  const managerLink = linkToManager(process.env, pid)
  const plan = { configuration, confinement, syslogFd, managerLink, counted: [], pid }
  const { becomeConfined } = await import('./sandbox/launch.js')
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

/** Becomes a confined process that takes over from the one at the other end of `fd`. Throws UserError. */
async function succeed(asked: Configuration, fd: number, args: readonly string[]): Promise<never> {
  // Its sockets come from the process that serves.
  const inherited = new Successor(fd).accept(placeOf(asked))
  const configuration = only(asked, inherited.shares)
  const starter = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const confinement = planConfinement(configuration, starter)
  const syslogFd = configuration.syslog === undefined ? undefined : connectDatagram(configuration.syslog)
  // The keeper, which is known outside, has started this process: see native/launcher/keeper.c.
  const pid = process.ppid
  const managerLink = linkToManager(process.env, pid)
  const { counted } = inherited
  const plan = { configuration, confinement, syslogFd, managerLink, counted, pid }
  limitFiles(configuration.fileLimit)
  allowRings()
  putOffSignals()
  return (await import('./sandbox/launch.js')).becomeSuccessor(plan, fd, inherited, args)
}

/** Leaves out the shares that are not served any more: a command has removed them. */
function only(configuration: Configuration, served: readonly string[]): Configuration {
  const isServed = configuration.shares.map((share) => served.includes(keyOf(share)))
  return {
    ...configuration,
    shares: configuration.shares.filter((_, n) => isServed[n]),
    dangers: configuration.dangers.filter((_, n) => isServed[n]),
  }
}

/** Tells the process that serves why this one cannot be its successor. */
export function refuseSuccession(error: unknown): void {
  const fd = successionFd()
  if (fd !== undefined) new Successor(fd).refuse(messageOf(error))
}

/**
 * Makes sockets for a program in a sandbox, whose broker removes their files. Removes them here if it cannot
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
