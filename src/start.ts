/** From what was asked for to a process that serves: sockets first, then the confinement, then the shares. */
import type { Configuration } from './config/configuration.js'
import { planConfinement } from './sandbox/confinement.js'
import { limitFiles, openOwnDescriptors } from './sandbox/own-process.js'
import { connectDatagram } from './sockets/connect-datagram.js'
import { withInheritedPaths } from './sockets/inherited-paths.js'
import { ClaimedSockets } from './sockets/listening-sockets.js'
import { linkToManager, ServiceManager } from './sockets/service-manager.js'

/** Serves, in this process or in the one that it becomes. `args` is the command line. Throws UserError. */
export async function startServing(asked: Configuration, args: readonly string[]): Promise<void> {
  const configuration = withInheritedPaths(asked)
  const { syslog, logLevel, fileLimit } = configuration
  const starter = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  const confinement = planConfinement(configuration, starter)
  const syslogFd = syslog === undefined ? undefined : connectDatagram(syslog)
  const managerLink = linkToManager(process.env)
  const sockets = new ClaimedSockets(configuration)
  // Without a sandbox, root still has privileges to lose.
  if (confinement.sandbox !== 'none' || starter.uid === 0) {
    // Inside, the limit cannot be raised any more.
    limitFiles(fileLimit)
    const { becomeConfined } = await import('./sandbox/launch.js')
    becomeConfined({ configuration, confinement, syslogFd, managerLink }, sockets, args)
  }
  const [{ makeLogger }, { Server }] = await Promise.all([import('./log/log.js'), import('./server.js')])
  const log = makeLogger(logLevel, syslogFd)
  const manager = new ServiceManager(managerLink)
  const procFd = openOwnDescriptors()
  new Server(configuration, confinement, sockets, log, syslogFd !== undefined, manager, procFd).start(
    () => {},
  )
}
