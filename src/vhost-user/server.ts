import { unlinkSync } from 'node:fs'
import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { AsyncBackend } from './async-backend.js'
import type { AsyncBackendOptions } from './backend-options.js'
import { checkDevice, type DeviceHost, type VhostUserDevice } from './device.js'
import { mustSucceed } from './errors.js'
import { EventLoop } from './event-loop.js'
import { listenAt } from './listen-at.js'
import { Listener } from './listener.js'
import { type Logger, silentLogger } from './logger.js'

const { EAGAIN } = os.errno

/** The pause after a failed accept: the front-end still waits, and the host may have free descriptors by then. */
const ACCEPT_AGAIN_MS = 100

export interface ListenOptions extends AsyncBackendOptions {
  /** True: serve one front-end, then close. Default false: the next may connect after one has left. */
  readonly once?: boolean
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal
}

/** A device at a socket, served from Node's event loop: see `listen`. */
export interface Server extends DeviceHost {
  readonly socketPath: string
  /** Resolves when the server has closed. Rejects with what the device threw. */
  readonly closed: Promise<void>
  /** Stops listening, disconnects the front-end, and removes the socket. */
  close(): Promise<void>
}

/**
 * Listens at `socketPath` and serves one front-end after the other from Node's event loop, without blocking. Replaces a
 * socket that a killed process left behind. Throws SystemCallError if it cannot listen, RangeError for a device that breaks
 * the protocol's limits.
 */
export function listen(socketPath: string, device: VhostUserDevice, options: ListenOptions = {}): Server {
  return new DeviceServer(socketPath, device, options)
}

class DeviceServer implements Server {
  readonly closed: Promise<void>
  private readonly loop: EventLoop
  private readonly log: Logger
  private readonly backend: AsyncBackend
  private readonly listener: Listener
  private unwatch: (() => void) | undefined
  private retry: NodeJS.Timeout | undefined
  private settle!: { resolve(): void; reject(error: unknown): void }
  private closing = false
  private serving = false

  constructor(
    readonly socketPath: string,
    device: VhostUserDevice,
    private readonly options: ListenOptions,
  ) {
    this.log = options.logger ?? silentLogger
    checkDevice(device)
    this.listener = new Listener(listenAt(socketPath))
    this.loop = new EventLoop()
    this.backend = new AsyncBackend(device, { ...options, loop: this.loop })
    this.closed = new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
    })
    // Only awaiting code sees a failure; without this line an unawaited one would be an unhandled rejection.
    this.closed.catch(() => {})
    options.signal?.addEventListener('abort', this.onAbort)
    if (options.signal?.aborted) this.close()
    else this.awaitFrontend()
  }

  close(): Promise<void> {
    if (!this.closing) {
      this.closing = true
      this.backend.stop()
      if (!this.serving) this.end(() => this.settle.resolve())
    }
    return this.closed
  }

  notifyConfigChange(): boolean {
    return this.backend.notifyConfigChange()
  }

  private readonly onAbort = () => void this.close()

  private awaitFrontend(): void {
    mustSucceed(
      'epoll_ctl',
      this.loop.addReadable(this.listener.fd, () => this.accept()),
    )
    this.unwatch = this.loop.watch(() => this.loop.wait(0))
  }

  private stopWaiting(): void {
    this.unwatch?.()
    this.unwatch = undefined
    this.loop.remove(this.listener.fd)
  }

  private accept(): void {
    const fd = this.listener.accept()
    if (fd === -EAGAIN) return
    this.stopWaiting()
    if (fd >= 0) {
      void this.serve(fd)
    } else {
      this.log.warn({ errno: -fd }, 'front-end cannot be accepted')
      this.retry = setTimeout(() => this.awaitFrontend(), ACCEPT_AGAIN_MS)
    }
  }

  private async serve(fd: number): Promise<void> {
    this.log.info({}, 'front-end connected')
    this.serving = true
    try {
      await this.backend.serve(fd)
    } catch (error) {
      this.closing = true
      this.end(() => this.settle.reject(error))
      return
    }
    this.serving = false
    this.log.info({}, 'front-end left')
    if (this.closing || this.options.once === true) {
      this.closing = true
      this.end(() => this.settle.resolve())
    } else {
      this.awaitFrontend()
    }
  }

  private end(settle: () => void): void {
    this.options.signal?.removeEventListener('abort', this.onAbort)
    clearTimeout(this.retry)
    this.stopWaiting()
    native.close(this.listener.fd)
    removeSocket(this.socketPath)
    this.loop.close()
    settle()
  }
}

function removeSocket(socketPath: string): void {
  try {
    unlinkSync(socketPath)
  } catch {
    // Another process has removed it.
  }
}
