import type { Logger } from 'pino'
import * as native from 'virtiofsd-ts-native'
import type { Configuration } from './config/command-line.js'
import { qemuArguments } from './config/qemu-arguments.js'
import type { ShareConfig } from './device/share-config.js'
import { startShare } from './device/share-thread.js'
import type { WorkerMessage } from './device/worker-messages.js'
import { claimSocket, type SocketClaim } from './socket-claim.js'

const EXIT_SUCCESS = 0
const EXIT_FAILURE = 1

/** Open files that the process keeps for itself, whatever guests open. */
const RESERVED_FILES = 256

interface RunningShare {
  readonly config: ShareConfig
  readonly claim: SocketClaim
  readonly log: Logger
}

/** The main thread's part: listens for every share, starts their threads, and ends the process. */
export class Server {
  private readonly running = new Set<RunningShare>()
  private status = EXIT_SUCCESS

  constructor(
    private readonly configuration: Configuration,
    private readonly log: Logger,
  ) {}

  /** Throws UserError when a socket cannot be had; nothing is left behind then. */
  start(): void {
    const { shares, fileLimit } = this.configuration
    const fdLimit = Math.floor((native.setFileLimit(fileLimit) - RESERVED_FILES) / shares.length)
    this.listen(shares)
    this.handleSignals()
    for (const share of this.running) {
      startShare(
        { config: share.config, listenFd: share.claim.listenFd, fdLimit },
        {
          message: (message) => this.handle(share, message),
          failed: (error) => this.fail(share, error),
        },
      )
    }
  }

  private listen(shares: readonly ShareConfig[]): void {
    try {
      shares.forEach((config, n) => {
        // One share needs no name in its logs.
        const log = shares.length === 1 ? this.log : this.log.child({ share: config.tag ?? `${n}` })
        this.running.add({ config, claim: claimSocket(config.socketPath), log })
      })
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

  private handle(share: RunningShare, message: WorkerMessage): void {
    switch (message.type) {
      case 'log':
        share.log[message.level](message.fields, message.text)
        break
      case 'listening': {
        const { config, log } = share
        const fields = { directory: config.directory, qemu: qemuArguments(config) }
        log.info(fields, 'ready: attach this share with these QEMU arguments')
        break
      }
      case 'ended':
        this.end(share)
    }
  }

  /** A bug here, or a host that took the share away: the other shares go on. */
  private fail(share: RunningShare, error: Error): void {
    share.log.fatal({ err: error }, 'the share failed')
    this.status = EXIT_FAILURE
    this.end(share)
  }

  private end(share: RunningShare): void {
    share.claim.release()
    this.running.delete(share)
    if (this.running.size === 0) this.exit(this.status)
  }

  private releaseAll(): void {
    for (const { claim } of this.running) claim.release()
    this.running.clear()
  }

  /** Ends the process at once: a share's thread may be blocked in the host's file system and cannot be waited for. */
  private exit(status: number): never {
    this.releaseAll()
    native.exitNow(status)
  }
}
