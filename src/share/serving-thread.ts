import { AsyncBackend, type AsyncBackendOptions, Backend, type EventLoop, type Listener } from 'vhost-user-ts'
import { type Arrivals, blockThread } from './arrivals.js'
import { type HandedShare, takeOver, takeOverFromNode } from './hand-over.js'
import type { ShareDevice } from './make-fs-device.js'
import type { ShareHost } from './share-host.js'
import type { ShareState } from './share-state.js'

/** What a thread serves a share with. */
export interface ServingParts {
  readonly device: ShareDevice['device']
  readonly options: AsyncBackendOptions
  readonly arrivals: Arrivals
  readonly loop: EventLoop
}

/**
 * How a thread serves a share. One that has no other work blocks: nothing that it returns is a promise, so its caller never
 * returns to Node's loop.
 */
export interface ServingThread {
  readonly backend: Backend | AsyncBackend
  /** Waits for a front-end. Returns its socket, or -EAGAIN if the arrivals were closed. */
  accept(listener: Listener): number | Promise<number>
  /** Serves a front-end until it leaves. */
  serve(fd: number): void | Promise<void>
  /** Takes over what another process sends over `fd`. Fails with StateError. */
  takeOver(state: ShareState, fd: number): HandedShare | Promise<HandedShare>
  /**
   * Waits until this process may serve and calls `begun`; then serves the front-end that was connected, if one was, until it
   * leaves. Fails as Backend.goOn does.
   */
  goOn(connection: HandedShare['connection'], begun: () => void): void | Promise<void>
  /** Waits for the end of the process. */
  standStill(): Promise<never>
}

/** A thread that serves one share and nothing else. */
export class BlockingThread implements ServingThread {
  readonly backend: Backend

  constructor(
    private readonly parts: ServingParts,
    private readonly block: NonNullable<ShareHost['block']>,
  ) {
    this.backend = new Backend(parts.device, parts.options)
  }

  accept(listener: Listener): number {
    return this.parts.arrivals.accept(listener)
  }

  serve(fd: number): void {
    this.backend.serve(fd)
  }

  takeOver(state: ShareState, fd: number): HandedShare {
    return takeOver(state, fd)
  }

  goOn(connection: HandedShare['connection'], begun: () => void): void {
    const begin = () => {
      this.block('taken')
      begun()
    }
    if (connection === undefined) begin()
    else this.backend.goOn(connection, begin)
  }

  standStill(): Promise<never> {
    for (;;) blockThread()
  }
}

/** A thread that also runs Node's loop: for the promises of a module, or for other shares. */
export class NodeThread implements ServingThread {
  readonly backend: AsyncBackend

  constructor(
    private readonly parts: ServingParts,
    private readonly host: Pick<ShareHost, 'reach'>,
    /** Handles what is ready. */
    private readonly turn: () => void,
  ) {
    this.backend = new AsyncBackend(parts.device, parts.options)
  }

  accept(listener: Listener): Promise<number> {
    return this.parts.arrivals.acceptFromNode(listener, this.turn)
  }

  serve(fd: number): Promise<void> {
    return this.backend.serve(fd)
  }

  takeOver(state: ShareState, fd: number): Promise<HandedShare> {
    return takeOverFromNode(state, fd, this.parts.loop)
  }

  async goOn(connection: HandedShare['connection'], begun: () => void): Promise<void> {
    const begin = async () => {
      await this.host.reach('taken')
      begun()
    }
    await (connection === undefined ? begin() : this.backend.goOn(connection, begin))
  }

  standStill(): Promise<never> {
    return new Promise<never>(() => {})
  }
}
