import type { DescriptorChain, EventLoop, StateLoader, VhostUserDevice } from 'vhost-user-ts'
import type { Background } from './file-system.js'
import { fsConfig } from './fs-config.js'
import type { Session } from './session.js'
import { sooner } from './sooner.js'

/** One priority queue, and as many request queues as vhost-user messages can number. Unused queues cost nothing. */
export const QUEUE_COUNT = 256

/** Handles requests between the rings and the session while it is active: for counts, traces and faults. */
export interface Interposer {
  /** True if requests go through this `process` in place of the session's. */
  readonly active: boolean
  /** Serves one request. Returns the bytes of its reply, or PENDING. */
  process(chain: DescriptorChain, queueIndex: number): number
  /** Continues with kept requests. Returns true if a request was completed. */
  progress(): boolean
  /** Milliseconds until `progress` has work without an event, or -1 for never. */
  nextDueMs(): number
  /** Completes all kept requests. */
  drain(): void
  /** Forgets all kept requests: they are served again from their beginning. */
  forget(): void
  sessionEnded(): void
}

/** The parts of a device. */
export interface FsDeviceParts {
  readonly session: Session
  readonly interposer?: Interposer
  /** With a tag the device offers its configuration space. Without one, the front-end provides it. */
  readonly tag: string | undefined
  /** Moves the session to another device and back. Without it the device cannot be migrated. */
  readonly state?: MovableState
}

/** The state of a session, and of what its file system keeps. */
export interface MovableState {
  /** See VhostUserDevice.saveState and loadState. */
  save(): Iterable<Uint8Array>
  /** See VhostUserDevice.prepareState. */
  prepare(isExpected: boolean): void
  load(): StateLoader
}

const nobody: Interposer = Object.freeze({
  active: false,
  process: () => 0,
  progress: () => false,
  nextDueMs: () => -1,
  drain: () => {},
  forget: () => {},
  sessionEnded: () => {},
})

/** The virtio-fs device (virtio 1.3, 5.11): all queues carry FUSE requests of one session. */
export class FsDevice implements VhostUserDevice {
  readonly name = 'virtio-fs'
  readonly queueCount = QUEUE_COUNT
  readonly config?: Uint8Array
  readonly saveState?: () => Iterable<Uint8Array>
  readonly prepareState?: (isExpected: boolean) => void
  readonly loadState?: () => StateLoader
  private readonly session: Session
  private readonly interposer: Interposer
  private readonly background: Background | undefined
  /** See VhostUserDevice: set where the file system shares its tables with other threads. */
  enter?: () => void
  leave?: () => void
  /** Waits for the file system's descriptors no more. Call it before they are closed. */
  detach = (): void => {}

  constructor({ session, interposer = nobody, tag, state }: FsDeviceParts) {
    this.session = session
    this.interposer = interposer
    this.background = session.fileSystem.background
    if (state !== undefined) {
      this.saveState = () => state.save()
      this.prepareState = (isExpected) => state.prepare(isExpected)
      this.loadState = () => state.load()
    }
    if (tag !== undefined) this.config = fsConfig(tag, 1)
  }

  process(chain: DescriptorChain, queueIndex: number): number {
    return this.interposer.active ? this.interposer.process(chain, queueIndex) : this.session.process(chain)
  }

  refuse(chain: DescriptorChain): number {
    return this.session.refuse(chain)
  }

  /** The engine that waits for the host: see Background. Undefined if there is none. */
  get backgroundEngine(): string | undefined {
    return this.background?.engine
  }

  attach(loop: EventLoop): void {
    const fds = this.background?.fds ?? []
    for (const fd of fds) loop.addReadable(fd, () => {})
    this.detach = () => {
      for (const fd of fds) loop.remove(fd)
    }
  }

  progress(nowMs: number): boolean {
    const passed = this.interposer.progress()
    const again = this.session.progress(nowMs)
    return this.background?.progress() === true || passed || again
  }

  nextDueMs(): number {
    const ownMs = sooner(this.background?.nextDueMs() ?? -1, this.session.nextDueMs())
    return sooner(ownMs, this.interposer.nextDueMs())
  }

  isWorking(): boolean {
    return this.background?.isWorking === true
  }

  isFull(): boolean {
    return this.background?.isFull === true || this.session.fileSystem.isFull === true
  }

  drain(): void {
    this.interposer.drain()
    this.session.drain()
    this.background?.drain()
  }

  hurry(): boolean {
    this.interposer.drain()
    this.session.drain()
    return this.background?.hurry?.() ?? true
  }

  suspend(untilMs: number): boolean {
    const { background } = this
    if (background?.settle?.(untilMs) === false) return false
    this.interposer.forget()
    this.session.forget()
    background?.forget?.()
    return true
  }

  cancel(chain: DescriptorChain): void {
    this.session.fileSystem.cancel?.(chain)
  }

  reset(): void {
    this.drain()
    this.session.end()
    this.interposer.sessionEnded()
  }
}
