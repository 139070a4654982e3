import { strict as assert } from 'node:assert'
import type { DriverVirtqueue, Used } from 'vhost-user-ts/frontend'
import type { FuseGuest } from './fuse-guest.js'
import { concat, type Id, u32, u64 } from './fuse-wire.js'

export const NEXT = 1
export const WRITE = 2
export const INDIRECT = 4

/** Only a hang takes this long. */
const TIMEOUT_MS = 20_000

/** One descriptor as laid out in memory. */
export interface Descriptor {
  readonly gpa: Id
  readonly lenBytes: number
  readonly flags?: number
  readonly next?: number
}

/** 16 bytes: address, length, flags, next. */
export function descriptorBytes({ gpa, lenBytes, flags = 0, next = 0 }: Descriptor): Uint8Array {
  return concat(u64(gpa), u32(lenBytes, flags | (next << 16)))
}

/** Writes rings as no driver would. Uses the last descriptors of the table, which ordinary requests do not reach. */
export class RawRing {
  private readonly queue: DriverVirtqueue
  /** The first index that is free for chains of its own. */
  readonly firstIndex: number

  constructor(
    private readonly fs: FuseGuest,
    queueIndex: number,
    room = 64,
  ) {
    this.queue = fs.frontend.queues[queueIndex]
    this.firstIndex = this.queue.layout.size - room
  }

  get size(): number {
    return this.queue.layout.size
  }

  /** Writes descriptors to the table from `firstIndex` on. */
  write(descriptors: readonly Descriptor[]): void {
    descriptors.forEach((descriptor, n) => {
      const words = new Int32Array(descriptorBytes(descriptor).buffer)
      this.queue.desc.set(words, 4 * (this.firstIndex + n))
    })
  }

  /** Makes `head` available. */
  publish(head: number): void {
    this.queue.publish(head)
    this.queue.kick()
  }

  /** Makes a head available. Returns how the device completed it. */
  submit(head = this.firstIndex): Used {
    this.publish(head)
    return this.reap()
  }

  /** Submits a chain of these descriptors; `next` is filled in. */
  submitChain(chain: readonly Descriptor[]): Used {
    this.offerChain(chain)
    return this.reap()
  }

  /** Offers such a chain without waiting for its completion. */
  offerChain(chain: readonly Descriptor[]): void {
    this.write(
      chain.map((descriptor, n) =>
        n + 1 < chain.length
          ? { ...descriptor, flags: (descriptor.flags ?? 0) | NEXT, next: this.firstIndex + n + 1 }
          : descriptor,
      ),
    )
    this.publish(this.firstIndex)
  }

  /** Submits a table in guest memory, named by one descriptor. */
  submitIndirect(table: readonly Descriptor[], tableGpa: number, lenBytes?: number): Used {
    this.offerIndirect(table, tableGpa, lenBytes)
    return this.reap()
  }

  /** Offers such a table without waiting for its completion. */
  offerIndirect(table: readonly Descriptor[], tableGpa: number, lenBytes = 16 * table.length): void {
    this.fs.frontend.write(tableGpa, concat(...table.map(descriptorBytes)))
    this.write([{ gpa: tableGpa, lenBytes, flags: INDIRECT }])
    this.publish(this.firstIndex)
  }

  reap(): Used {
    const used = this.queue.reap(TIMEOUT_MS)
    assert.ok(used !== undefined, 'the device gave nothing back')
    return used
  }
}
