import { changesPath } from '../config/changes-path.js'
import type { Configuration } from '../config/configuration.js'
import { claimMetrics } from './metrics-claim.js'
import { claimBeside, claimSocket, inheritSocket, removeFiles, type SocketClaim } from './socket-claim.js'

/** The listening sockets of a process. */
export interface ListeningSockets {
  /** The descriptors by share number. */
  readonly shareFds: readonly number[]
  readonly controlFd: number | undefined
  readonly metricsFd: number | undefined
  /** Removes the files of a share's socket after its last use. */
  releaseShare(n: number): void
  releaseAll(): void
}

/** Sockets that this process has bound, and whose files it removes. */
export class ClaimedSockets implements ListeningSockets {
  private readonly shares: SocketClaim[] = []
  private readonly control: SocketClaim | undefined
  private readonly metrics: SocketClaim | undefined
  /** The socket of `ctl` commands that change the process: see changesPath. */
  readonly changesFd: number | undefined

  /** Throws UserError if one of them cannot be made; removes the others then. */
  constructor({ shares, controlSocket, metrics }: Configuration) {
    try {
      // The control socket comes first, so that it is there when a share listens.
      if (controlSocket !== undefined) {
        this.control = claimSocket(controlSocket, '--control-socket')
        this.changesFd = claimBeside(changesPath(controlSocket), '--control-socket')
      }
      if (metrics !== undefined) this.metrics = claimMetrics(metrics)
      for (const { inheritedFd, socketPath, socketGid } of shares) {
        this.shares.push(
          inheritedFd === undefined
            ? claimSocket(socketPath, '--socket-path', socketGid)
            : inheritSocket(inheritedFd),
        )
      }
    } catch (error) {
      this.releaseAll()
      throw error
    }
  }

  get shareFds(): readonly number[] {
    return this.shares.map(({ listenFd }) => listenFd)
  }

  get controlFd(): number | undefined {
    return this.control?.listenFd
  }

  get metricsFd(): number | undefined {
    return this.metrics?.listenFd
  }

  private get claims(): readonly SocketClaim[] {
    return [...this.shares, this.control, this.metrics].filter((claim) => claim !== undefined)
  }

  /** The paths of the sockets, each with the descriptor that holds its lock; -1 for the one beside the control socket. */
  get locks(): readonly { readonly path: string; readonly lockFd: number }[] {
    const own = this.claims.flatMap(({ files: [path], lockFd = -1 }) =>
      path === undefined ? [] : [{ path, lockFd }],
    )
    return [...own, ...this.changesFiles.map((path) => ({ path, lockFd: -1 }))]
  }

  private get changesFiles(): readonly string[] {
    const [path] = this.control?.files ?? []
    return path === undefined || this.changesFd === undefined ? [] : [changesPath(path)]
  }

  releaseShare(n: number): void {
    this.shares[n]?.release()
  }

  releaseAll(): void {
    for (const claim of this.claims) claim.release()
    removeFiles(this.changesFiles)
  }
}

/** Sockets bound before this process was confined; its broker removes their files. */
export function inheritedSockets(
  shareFds: readonly number[],
  controlFd: number | undefined,
  metricsFd: number | undefined,
): ListeningSockets {
  return { shareFds, controlFd, metricsFd, releaseShare: () => {}, releaseAll: () => {} }
}
