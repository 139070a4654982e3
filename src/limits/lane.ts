import type { Carrier } from 'virtio-fs-ts/protocol'
import type { TokenBucket } from './token-bucket.js'

/** A request that waits. */
export interface Waiting {
  readonly carrier: Carrier
  /** The bytes that it is charged for. */
  readonly bytes: number
  /** Its number in the order of arrival. */
  readonly order: number
  readonly sinceMs: number
}

/** Requests that need the same buckets to be open, first in, first out. */
export class Lane {
  private items: Waiting[] = []
  private at = 0

  constructor(private readonly buckets: readonly TokenBucket[]) {}

  get length(): number {
    return this.items.length - this.at
  }

  get first(): Waiting | undefined {
    return this.items[this.at]
  }

  push(item: Waiting): void {
    this.items.push(item)
  }

  shift(): void {
    this.at++
    // Moves the rest only when it is the smaller part.
    if (2 * this.at < this.items.length) return
    this.items = this.items.slice(this.at)
    this.at = 0
  }

  get isOpen(): boolean {
    for (const bucket of this.buckets) if (!bucket.isOpen) return false
    return true
  }

  /** Milliseconds after the last refill until it is open. */
  get opensInMs(): number {
    return Math.max(...this.buckets.map(({ opensInMs }) => opensInMs))
  }
}
