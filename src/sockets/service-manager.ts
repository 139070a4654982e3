import { writeSync } from 'node:fs'
import { connectDatagram } from './connect-datagram.js'

/** The link to the service manager that started this process: see sd_notify(3) and sd_watchdog_enabled(3). */
export interface ManagerLink {
  /** A connected datagram socket, which a process in a sandbox inherits. */
  readonly fd: number
  /** The manager ends a process that it has not heard from for this long; 0: never. */
  readonly watchdogMs: number
}

/** Returns undefined if no service manager waits for the process `pid`, as it is known outside. */
export function linkToManager(environment: NodeJS.ProcessEnv, pid: number): ManagerLink | undefined {
  const { NOTIFY_SOCKET: path, WATCHDOG_USEC, WATCHDOG_PID } = environment
  const fd = path?.startsWith('/') === true ? connectDatagram(path) : undefined
  if (fd === undefined) return undefined
  const watched = WATCHDOG_PID === undefined || WATCHDOG_PID === `${pid}`
  return { fd, watchdogMs: watched ? Math.floor(Number(WATCHDOG_USEC ?? 0) / 1000) : 0 }
}

/** Reports this process's state to the service manager. */
export class ServiceManager {
  constructor(private readonly link: ManagerLink | undefined) {}

  /**
   * Reports that every share can be connected to. From then on the main thread pings the watchdog twice per interval.
   * A share's thread does not: it may wait for the host's file system for any time, and no watchdog should end it
   * then.
   */
  ready(status: string): void {
    if (this.link === undefined) return
    this.send(`READY=1\nSTATUS=${status}`)
    const { watchdogMs } = this.link
    if (watchdogMs > 0) setInterval(() => this.send('WATCHDOG=1'), watchdogMs / 2).unref()
  }

  stopping(): void {
    this.send('STOPPING=1')
  }

  /** Sends a message. A manager that is gone or busy is no reason to stop serving. */
  private send(message: string): void {
    if (this.link === undefined) return
    try {
      writeSync(this.link.fd, message)
    } catch {
      // EAGAIN, ECONNREFUSED: the next message may get through.
    }
  }
}
