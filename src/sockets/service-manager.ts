import { writeSync } from 'node:fs'
import { connectDatagram } from './connect-datagram.js'

/** How to reach the service manager that started this process: see sd_notify(3) and sd_watchdog_enabled(3). */
export interface ManagerLink {
  /** A connected datagram socket, which a process in a sandbox inherits. */
  readonly fd: number
  /** The manager ends a process that it has not heard of for so long; 0: it does not. */
  readonly watchdogMs: number
}

/** Undefined when no service manager waits for notice of this process. */
export function linkToManager(environment: NodeJS.ProcessEnv): ManagerLink | undefined {
  const { NOTIFY_SOCKET: path, WATCHDOG_USEC, WATCHDOG_PID } = environment
  const fd = path?.startsWith('/') === true ? connectDatagram(path) : undefined
  if (fd === undefined) return undefined
  const watched = WATCHDOG_PID === undefined || WATCHDOG_PID === `${process.pid}`
  return { fd, watchdogMs: watched ? Math.floor(Number(WATCHDOG_USEC ?? 0) / 1000) : 0 }
}

/** Tells the service manager how far this process is. */
export class ServiceManager {
  constructor(private readonly link: ManagerLink | undefined) {}

  /**
   * Every share can be connected to. From now on the watchdog hears twice per interval that the main thread turns. A share's
   * thread may wait for its host's file system for as long as that takes, so that no watchdog ends it in a snapshot.
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

  /** A manager that has gone, or takes nothing now, is no reason to stop serving. */
  private send(message: string): void {
    if (this.link === undefined) return
    try {
      writeSync(this.link.fd, message)
    } catch {
      // EAGAIN, ECONNREFUSED: the next message may get through.
    }
  }
}
