import { resolve } from 'node:path'
import type { ShareConfig } from '../share/share-config.js'
import type { PacketSocket } from '../sockets/packet-socket.js'
import type { ClaimHooks } from '../sockets/socket-claim.js'
import { askBroker } from './ask-broker.js'

/** The broker, which keeps the files and locks of sockets: see native/launcher/socket-files.c. */
export class KeptSockets implements ClaimHooks {
  /** `pid` goes into the pid files. */
  constructor(
    private readonly broker: PacketSocket,
    readonly pid: number,
  ) {}

  announced(path: string): void {
    this.tell(`?${resolve(path)}`)
  }

  locked(path: string, lockFd: number): void {
    this.tell(`+${resolve(path)}`, [lockFd])
  }

  failed(path: string): void {
    this.tell(`!${resolve(path)}`)
  }

  /** The shares of all new sockets are about to serve: their files outlive this helper. */
  confirm(): void {
    this.tell('*')
  }

  /** Removes what earlier helpers made for shares that do not serve: they were killed, or the shares have ended. */
  settle(serving: readonly ShareConfig[]): void {
    for (const { socketPath } of serving) if (socketPath !== '') this.tell(`=${resolve(socketPath)}`)
    this.tell('.')
  }

  /** Removes a socket's files and gives up its lock, unless the broker does not know the path. */
  release(path: string): void {
    this.tell(`-${resolve(path)}`)
  }

  private tell(message: string, fds: readonly number[] = []): void {
    if (askBroker(this.broker, message, fds) === undefined)
      throw new Error('the broker keeps no more sockets')
  }
}
