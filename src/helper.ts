/**
 * Changes the running process: adds shares, removes them, reads its configuration file again, and replaces it. The broker
 * starts it outside of the confinement (native/launcher/broker.c), with the privileges and the command line of the start:
 * for a client, for SIGHUP, or for SIGUSR2.
 */
import { messageOf } from './basics/errors.js'
import { readOptions } from './config/command-line.js'
import { exitWithError } from './exit-with-error.js'
import { KeptSockets } from './live/kept-sockets.js'
import { serveLiveClient } from './live/live-client.js'
import { reload } from './live/reload.js'
import { type Starter, startSuccessor, takeOver } from './live/replace.js'
import { RunningProcess } from './live/running-process.js'
import type { Helper } from './live/share-changes.js'
import { inheritedFd } from './sandbox/inherited-fd.js'
import { PacketSocket } from './sockets/packet-socket.js'

/** Takes the other end of a socket that the broker has named. */
function linkTo(variable: string): PacketSocket {
  const fd = inheritedFd(variable)
  if (fd === undefined) throw new Error(`${variable} is not set: the broker starts this program`)
  return new PacketSocket(fd)
}

async function main(args: readonly string[]): Promise<void> {
  const running = new RunningProcess(linkTo('VIRTIOFSD_TS_HANDOVER_FD'))
  const broker = linkTo('VIRTIOFSD_TS_BROKER_FD')
  const read = readOptions(args)
  if (read === undefined) throw new Error('the command line of a process that serves has no --help')
  const { given } = read
  const { pid, shares } = running.describe()
  const sockets = new KeptSockets(broker, pid)
  sockets.settle(shares.map(({ config }) => config))
  const helper: Helper = { process: running, sockets, given }
  const starter: Starter = { process: running, broker, args }
  const clientFd = inheritedFd('VIRTIOFSD_TS_CLIENT_FD')
  if (clientFd !== undefined) await serveLiveClient(clientFd, helper, starter)
  else if (process.env['VIRTIOFSD_TS_TASK'] === 'replace') replaceForSignal(starter)
  else reloadForSignal(helper)
  process.exit()
}

function reloadForSignal(helper: Helper): void {
  try {
    reload(helper)
  } catch (error) {
    helper.process.refused('reload', messageOf(error))
  }
}

function replaceForSignal(starter: Starter): void {
  let fd: number
  try {
    fd = startSuccessor(starter, { program: undefined, options: [] })
  } catch (error) {
    starter.process.refused('replace', messageOf(error))
    return
  }
  try {
    takeOver(starter, fd)
  } catch {
    // The process that goes on has logged the reason.
  }
}

// The words before: node, this script, and the descriptor of the process that runs.
main(process.argv.slice(3)).catch(exitWithError)
