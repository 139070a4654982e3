/** A device, in a worker, that keeps every request until its ring stops, on either loop. */
import { workerData } from 'node:worker_threads'
import { type DescriptorChain, listen, PENDING, serve, type VhostUserDevice } from 'vhost-user-ts'

export interface DrainingDeviceData {
  readonly socketPath: string
  readonly blocking: boolean
  /** Its only word is the number of requests that the device has taken. */
  readonly taken: Int32Array
}

class DrainingDevice implements VhostUserDevice {
  readonly name = 'draining'
  readonly queueCount = 1
  private readonly kept: DescriptorChain[] = []

  constructor(private readonly taken: Int32Array) {}

  process(chain: DescriptorChain): number {
    this.kept.push(chain)
    Atomics.add(this.taken, 0, 1)
    Atomics.notify(this.taken, 0)
    return PENDING
  }

  drain(): void {
    for (const chain of this.kept.splice(0)) chain.complete(1)
  }
}

const { socketPath, blocking, taken } = workerData as DrainingDeviceData
const device = new DrainingDevice(taken)
if (blocking) serve(socketPath, device)
else listen(socketPath, device, { once: true })
