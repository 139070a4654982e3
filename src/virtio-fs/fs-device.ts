import type { DescriptorChain, EventLoop, VhostUserDevice } from 'vhost-user-ts'
import { constants } from 'virtiofsd-ts-native'
import { Interceptor, type Report } from '../inspect/interceptor.js'
import type { Counters } from './counters.js'
import type { Background, FileSystem } from './file-system.js'
import type { InitWishes } from './negotiation.js'
import { Session, type SessionObserver } from './session.js'

/** virtio 1.3, 5.11.4: tag[36], then the number of request queues. */
const TAG_BYTES = 36
const CONFIG_BYTES = 40

/** One priority queue, and as many request queues as a vhost-user message can name: a queue costs nothing unused. */
export const QUEUE_COUNT = 256

/** The device configuration space for a tag. Throws RangeError for a tag that is empty or over 36 bytes. */
export function fsConfig(tag: string, requestQueues: number): Uint8Array {
  const name = new TextEncoder().encode(tag)
  if (name.length === 0 || name.length > TAG_BYTES) throw new RangeError(`a tag has 1 to ${TAG_BYTES} bytes`)
  const config = new Uint8Array(CONFIG_BYTES)
  config.set(name)
  new DataView(config.buffer).setUint32(TAG_BYTES, requestQueues, true)
  return config
}

/** What a device is made of. */
export interface FsDeviceParts {
  readonly fileSystem: FileSystem
  readonly wishes: InitWishes
  readonly observer: SessionObserver
  /** With a tag the device offers its configuration space; without, the front-end provides it. */
  readonly tag: string | undefined
  /** Tells of what was done on purpose. */
  readonly report: Report
  /** Where requests are counted. */
  readonly counters: Counters
}

/** Knows nothing of any inode: for a file system without introspection. */
const blind = { pathOf: () => undefined, sizeOf: () => -1, openFlagsOf: () => 0 }

/** The virtio-fs device (virtio 1.3, 5.11): every queue carries FUSE requests of one session. */
export class FsDevice implements VhostUserDevice {
  readonly name = 'virtio-fs'
  readonly queueCount = QUEUE_COUNT
  readonly config?: Uint8Array
  readonly session: Session
  readonly interceptor: Interceptor
  private readonly background: Background | undefined

  constructor({ fileSystem, wishes, observer, tag, report, counters }: FsDeviceParts) {
    this.session = new Session(fileSystem, wishes, observer, counters)
    this.interceptor = new Interceptor(this.session, fileSystem.introspection ?? blind, report)
    this.background = fileSystem.background
    if (tag !== undefined) this.config = fsConfig(tag, 1)
  }

  process(chain: DescriptorChain, queueIndex: number): number {
    return this.interceptor.active ? this.interceptor.process(chain, queueIndex) : this.session.process(chain)
  }

  /** Who waits for the host: see Background. Undefined when nobody does. */
  get backgroundEngine(): string | undefined {
    return this.background?.engine
  }

  attach(loop: EventLoop): void {
    for (const fd of this.background?.fds ?? []) loop.add(fd, constants.EPOLLIN, () => {})
  }

  progress(): boolean {
    const passed = this.interceptor.progress()
    return this.background?.progress() === true || passed
  }

  nextDueMs(): number {
    const ownMs = this.background?.nextDueMs() ?? -1
    const interceptedMs = this.interceptor.nextDueMs()
    return ownMs < 0 || interceptedMs < 0 ? Math.max(ownMs, interceptedMs) : Math.min(ownMs, interceptedMs)
  }

  isWorking(): boolean {
    return this.background?.isWorking === true
  }

  isFull(): boolean {
    return this.background?.isFull === true
  }

  drain(): void {
    this.interceptor.drain()
    this.background?.drain()
  }

  reset(): void {
    this.drain()
    this.session.end()
    this.interceptor.sessionEnded()
  }
}
