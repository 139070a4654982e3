import type { Configuration } from '../config/configuration.js'
import { claimSocket, inheritSocket, type SocketClaim } from './socket-claim.js'

/** The sockets that a process listens at. */
export interface ListeningSockets {
  /** By the number of the share. */
  readonly shareFds: readonly number[]
  readonly controlFd: number | undefined
  /** Removes the files of one share's socket, which nobody will listen at any more. */
  releaseShare(n: number): void
  releaseAll(): void
}

/** Sockets that this process has bound, and whose files it removes. */
export class ClaimedSockets implements ListeningSockets {
  private readonly shares: SocketClaim[] = []
  private readonly control: SocketClaim | undefined

  /** Throws UserError when one cannot be had; nothing is left behind then. */
  constructor({ shares, controlSocket }: Configuration) {
    try {
      // First, so that whoever finds a share listening can ask for it too.
      if (controlSocket !== undefined) this.control = claimSocket(controlSocket, '--control-socket')
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

  private get claims(): readonly SocketClaim[] {
    return this.control === undefined ? this.shares : [...this.shares, this.control]
  }

  /** What is to be removed at the end. */
  get files(): readonly string[] {
    return this.claims.flatMap(({ files }) => files)
  }

  /** Descriptors that hold the locks. */
  get lockFds(): readonly number[] {
    return this.claims.flatMap(({ lockFd }) => lockFd ?? [])
  }

  releaseShare(n: number): void {
    this.shares[n]?.release()
  }

  releaseAll(): void {
    for (const claim of this.claims) claim.release()
  }
}

/** Sockets that were bound before this process was confined: a supervisor removes their files. */
export function inheritedSockets(
  shareFds: readonly number[],
  controlFd: number | undefined,
): ListeningSockets {
  return { shareFds, controlFd, releaseShare: () => {}, releaseAll: () => {} }
}
