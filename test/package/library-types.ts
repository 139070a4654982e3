/**
 * Code of a user of vhost-user-ts, right and wrong, compiled against the packed package. Its types must refuse the
 * wrong one.
 */
import {
  AsyncBackend,
  Backend,
  type DescriptorChain,
  type DeviceHost,
  type EventLoop,
  FileIo,
  featureBits,
  hasBit,
  type ListenOptions,
  listen,
  PENDING,
  ProtocolError,
  type Server,
  serve,
  type Transfer,
  type VhostUserDevice,
  VirtioFeature,
} from 'vhost-user-ts'
import type { DriverVirtqueue, Frontend, Used } from 'vhost-user-ts/frontend'
import { SOCKET_PATH_MAX_BYTES } from 'vhost-user-ts/socket-path'

class Whole implements VhostUserDevice {
  readonly name = 'whole'
  readonly queueCount = 2
  readonly maxQueueSize = 256
  readonly features = featureBits(9, 12)
  readonly config = new Uint8Array(8)
  readonly io = new FileIo({ uring: false, maxThreads: 1 })
  private host: DeviceHost | undefined

  attach(loop: EventLoop, host: DeviceHost): void {
    this.host = host
    loop.add(0, 1, (events: number) => events)
  }

  acceptFeatures(features: bigint): void {
    if (hasBit(features, VirtioFeature.VERSION_1)) this.host?.notifyConfigChange()
  }

  writeConfig(offsetBytes: number, bytes: Uint8Array): boolean {
    this.config.set(bytes, offsetBytes)
    return true
  }

  process(chain: DescriptorChain, queueIndex: number): number | Promise<number> {
    const where: Transfer = { fd: 0, offsetBytes: 0, lenBytes: chain.writableBytes }
    if (queueIndex === 0) return PENDING
    if (chain.signal.aborted) return chain.complete(0) ? PENDING : 0
    return this.io.read(chain, where)
  }

  cancel(chain: DescriptorChain): void {
    chain.complete(0)
  }
}

export function use(socketPath: string, signal: AbortSignal): Promise<void> {
  const options: ListenOptions = { once: true, stopTimeoutMs: 100, pollUs: 0, signal }
  const server: Server = listen(socketPath, new Whole(), options)
  server.notifyConfigChange()
  void new AsyncBackend(new Whole()).serve(3)
  new Backend(new Whole()).serve(3)
  serve(socketPath, { name: 'least', queueCount: 1, process: () => 0 })
  return server.close()
}

export function play(frontend: Frontend): Used | undefined {
  const queue: DriverVirtqueue = frontend.addQueue(SOCKET_PATH_MAX_BYTES)
  try {
    return queue.reap(1)
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'BAD_FRAME') return undefined
    throw error
  }
}

// @ts-expect-error: a device must serve
export const noProcess: VhostUserDevice = { name: 'x', queueCount: 1 }
// @ts-expect-error: a reply is a number
export const text: VhostUserDevice = { name: 'x', queueCount: 1, process: () => 'reply' }
// @ts-expect-error: a promise of a reply is one of a number
export const promisedText: VhostUserDevice = { name: 'x', queueCount: 1, process: async () => 'reply' }
// @ts-expect-error: feature words have 64 bits
export const features: VhostUserDevice = { name: 'x', queueCount: 1, features: 512, process: () => 0 }
// @ts-expect-error: not every file is an entry
export type Inside = typeof import('vhost-user-ts/vring')
