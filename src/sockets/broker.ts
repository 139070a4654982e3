import { EventLoop } from 'vhost-user-ts'
import { PacketSocket } from './packet-socket.js'

/** The time that the broker has to remove files, which a dead disk can prevent. */
const PATIENCE_MS = 5000

/** The link to the broker of a process without a supervisor: see native/launcher/broker.c. */
export class Broker {
  private readonly socket: PacketSocket

  /** Takes ownership of `fd`. */
  constructor(fd: number) {
    this.socket = new PacketSocket(fd)
  }

  /** Asks for the configuration file to be read again. */
  askForReload(): void {
    this.send('h')
  }

  /** Returns when the broker has removed the sockets' files. */
  end(): void {
    const loop = new EventLoop()
    this.socket.onPacket(loop, () => {})
    this.send('q')
    loop.wait(PATIENCE_MS)
  }

  private send(request: string): void {
    try {
      this.socket.send(request)
    } catch {
      // The broker was killed: its sockets' files stay behind.
    }
  }
}
