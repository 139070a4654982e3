import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { describeExit, LeashedProcess } from '../host/leashed-process.js'
import type { Program } from '../host/program.js'
import { SetupError } from '../host/setup-error.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'
import { Console } from './console.js'
import { type MachineOptions, type MachineSockets, machineArguments } from './qemu.js'
import { Qmp } from './qmp.js'

/** A running QEMU and the three lines to it. */
export interface Machine {
  process: LeashedProcess
  console: Console
  /** The two lines to the agent in the guest. */
  agentLines: Socket[]
  qmp: Qmp
}

/** Starts QEMU and connects to it. Its sockets live in a folder that is removed when QEMU ends. */
export async function startMachine(
  qemu: Program,
  options: Omit<MachineOptions, 'sockets'>,
): Promise<Machine> {
  const dir = makeTemporaryDir()
  // We listen and QEMU connects, so no byte is lost between the two starts.
  const sockets: MachineSockets = {
    console: join(dir.path, 'console'),
    agentPort: join(dir.path, 'agent-port'),
    agentSerial: join(dir.path, 'agent-serial'),
    qmp: join(dir.path, 'qmp'),
  }
  const servers = await Promise.all(Object.values(sockets).map(listen))

  const process = new LeashedProcess('QEMU', qemu, machineArguments({ ...options, sockets }))
  const refused = process.exited
    .finally(() => {
      for (const server of servers) server.close()
      dir.remove()
    })
    .then((exit): never => {
      throw new SetupError(describeExit(process, exit))
    })
  const connections = Promise.all(servers.map(acceptOne)) as Promise<[Socket, Socket, Socket, Socket]>
  const [console, agentPort, agentSerial, qmp] = await Promise.race([connections, refused])
  const machine = {
    process,
    console: new Console(console),
    agentLines: [agentPort, agentSerial],
    // A QEMU that cannot make the machine ends right after it has connected.
    qmp: await Qmp.open(qmp).catch(() => refused),
  }
  // From here on the guest reports how QEMU ended.
  refused.catch(() => {})
  return machine
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(path, () => resolve(server))
  })
}

function acceptOne(server: Server): Promise<Socket> {
  return new Promise((resolve) => {
    server.once('connection', (socket) => {
      server.close()
      resolve(socket.on('error', () => {})) // how QEMU ends says more
    })
  })
}
