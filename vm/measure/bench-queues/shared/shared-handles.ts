import { generationOfId, idOf, MAX_GENERATION, slotOfId } from 'virtio-fs-ts/protocol'
import { LINE_WORDS } from './epochs.js'
import { SlotPool } from './slot-pool.js'

const ROW_BITS = 3
const WORD = 0
const LINK = 7

/** What a handle stands for: as many numbers as fit. */
export const HANDLE_FIELDS = 6

/** The guest's handles, for several threads. Between `enter` and `leave` of the inodes no row that was read is used again. */
export class SharedHandles {
  private readonly rows: Int32Array
  private readonly pool: SlotPool

  constructor(
    memory: SharedArrayBuffer,
    capacity: number,
    private readonly retireSlot: (slot: number) => void,
  ) {
    this.rows = new Int32Array(memory, 4 * (LINE_WORDS + SlotPool.WORDS), capacity << ROW_BITS)
    this.pool = new SlotPool(
      new Int32Array(memory, 0, SlotPool.WORDS),
      this.rows.subarray(LINK),
      1 << ROW_BITS,
      1,
      capacity,
    )
  }

  static bytes(capacity: number): number {
    return 4 * (LINE_WORDS + SlotPool.WORDS + (capacity << ROW_BITS))
  }

  /** Returns a new handle; its fields are `fields`. 0: there is none left. */
  add(fields: Int32Array): number {
    const slot = this.pool.take()
    if (slot === 0) return 0
    const row = slot << ROW_BITS
    for (let n = 0; n < HANDLE_FIELDS; n++) this.rows[row + 1 + n] = fields[n]!
    const word = this.rows[row + WORD]! | 1
    Atomics.store(this.rows, row, word)
    return idOf(slot, word >>> 1)
  }

  /** Returns the slot of a handle, or 0 if the guest invented or has released it. */
  slotOf(handle: number): number {
    const slot = slotOfId(handle)
    return Atomics.load(this.rows, slot << ROW_BITS) === ((generationOfId(handle) << 1) | 1) ? slot : 0
  }

  field(slot: number, n: number): number {
    return this.rows[(slot << ROW_BITS) + 1 + n]!
  }

  /** Ends a handle. Returns false if another thread has. */
  remove(handle: number): boolean {
    const slot = slotOfId(handle)
    const generation = generationOfId(handle)
    const word = (generation << 1) | 1
    if (Atomics.compareExchange(this.rows, slot << ROW_BITS, word, (generation + 1) << 1) !== word)
      return false
    if (generation < MAX_GENERATION) this.retireSlot(slot)
    return true
  }

  /** The slot is free: no thread has read it since its handle ended. */
  free(slot: number): void {
    this.pool.give(slot)
  }
}
