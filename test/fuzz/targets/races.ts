import { strict as assert } from 'node:assert'
import { Worker } from 'node:worker_threads'
import type { ScribblerStart } from '../scribbler.js'
import { REGION_BYTES, RingTarget } from './rings.js'

/**
 * The same as rings, while another thread writes to the rings and buffers. The seed decides what it writes, the
 * scheduler when. What the device has checked has to hold all the same.
 */
export class RaceTarget extends RingTarget {
  override readonly name = 'races'
  private readonly control = new Int32Array(new SharedArrayBuffer(8))

  private constructor(seed: number) {
    super()
    const start: ScribblerStart = {
      memoryFd: this.memoryFds[0],
      sizeBytes: REGION_BYTES,
      seed,
      control: this.control,
    }
    new Worker(new URL('../scribbler.js', import.meta.url), { workerData: start }).on('error', (error) => {
      throw error
    })
  }

  static async start(seed: number): Promise<RaceTarget> {
    const target = new RaceTarget(seed)
    while (Atomics.load(target.control, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    return target
  }

  override close(): void {
    assert.equal(Atomics.load(this.control, 0), 1, 'memory has changed all the time')
    Atomics.store(this.control, 1, 1)
    super.close()
  }
}
