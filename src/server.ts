import type { Logger } from 'pino'
import * as native from 'virtiofsd-ts-native'
import type { Configuration } from './config/command-line.js'
import { qemuArguments } from './config/qemu-arguments.js'
import { ControlCommands } from './control/control-commands.js'
import { serveControl } from './control/control-server.js'
import type { ShareConfig } from './device/share-config.js'
import { type ShareEvents, ShareThread } from './device/share-thread.js'
import { claimSocket, type SocketClaim } from './socket-claim.js'

const EXIT_SUCCESS = 0
const EXIT_FAILURE = 1

/** Open files that the process keeps for itself, whatever guests open. */
const RESERVED_FILES = 256

interface ListeningShare {
  /** Its tag, or its number from 0 on. */
  readonly name: string
  readonly config: ShareConfig
  readonly claim: SocketClaim
  readonly log: Logger
}

/** The main thread's part: listens for every share, starts their threads, and ends the process. */
export class Server {
  private readonly claims = new Set<SocketClaim>()
  private running = 0
  private status = EXIT_SUCCESS

  constructor(
    private readonly configuration: Configuration,
    private readonly log: Logger,
  ) {}

  /** Throws UserError when a socket cannot be had; nothing is left behind then. */
  start(): void {
    const { shares, fileLimit, logLevel, controlSocket } = this.configuration
    const fdLimit = Math.floor((native.setFileLimit(fileLimit) - RESERVED_FILES) / shares.length)
    const listening = this.listen(shares)
    const control = controlSocket === undefined ? undefined : this.claim(controlSocket, '--control-socket')
    this.handleSignals()
    this.running = listening.length
    const controlled = listening.map(({ name, config, claim, log }) => ({
      name,
      directory: config.directory,
      socketPath: config.socketPath,
      thread: new ShareThread(config, claim.listenFd, fdLimit, logLevel, this.eventsOf(config, claim, log)),
    }))
    if (control !== undefined) serveControl(control.listenFd, new ControlCommands(controlled))
  }

  private listen(shares: readonly ShareConfig[]): ListeningShare[] {
    return shares.map((config, n) => {
      const name = config.tag ?? `${n}`
      // One share needs no name in its logs.
      const log = shares.length === 1 ? this.log : this.log.child({ share: name })
      return { name, config, claim: this.claim(config.socketPath, '--socket-path'), log }
    })
  }

  private claim(path: string, option: string): SocketClaim {
    try {
      const claim = claimSocket(path, option)
      this.claims.add(claim)
      return claim
    } catch (error) {
      this.releaseAll()
      throw error
    }
  }

  private handleSignals(): void {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        this.log.info({ signal }, 'ending')
        this.exit(EXIT_SUCCESS)
      })
    }
  }

  private eventsOf(config: ShareConfig, claim: SocketClaim, log: Logger): ShareEvents {
    return {
      log: (level, fields, text) => log[level](fields, text),
      listening: () => {
        const fields = { directory: config.directory, qemu: qemuArguments(config) }
        log.info(fields, 'ready: attach this share with these QEMU arguments')
      },
      ended: () => this.end(claim),
      // A bug here, or a host that took the share away: the other shares go on.
      failed: (error) => {
        log.fatal({ err: error }, 'the share failed')
        this.status = EXIT_FAILURE
        this.end(claim)
      },
    }
  }

  private end(claim: SocketClaim): void {
    claim.release()
    this.claims.delete(claim)
    if (--this.running === 0) this.exit(this.status)
  }

  private releaseAll(): void {
    for (const claim of this.claims) claim.release()
    this.claims.clear()
  }

  /** Ends the process at once: a share's thread may be blocked in the host's file system and cannot be waited for. */
  private exit(status: number): never {
    this.releaseAll()
    native.exitNow(status)
  }
}
