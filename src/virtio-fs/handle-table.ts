import { generationOfId, idOf, MAX_GENERATION, slotOfId } from './slots.js'

interface Slot<T> {
  value: T | undefined
  generation: number
}

/** The guest's open files and directories, by handle. Handle 0 is never used. */
export class HandleTable<T> {
  private readonly slots: Slot<T>[] = [{ value: undefined, generation: 0 }]
  private readonly free: number[] = []
  /** Number of open handles. */
  count = 0

  add(value: T): number {
    const slot = this.free.pop() ?? this.slots.push({ value: undefined, generation: 0 }) - 1
    this.slots[slot].value = value
    this.count++
    return idOf(slot, this.slots[slot].generation)
  }

  /** Returns undefined for a handle that the guest invented or has released. */
  get(handle: number): T | undefined {
    const slot = this.slots[slotOfId(handle)]
    return slot !== undefined && slot.generation === generationOfId(handle) ? slot.value : undefined
  }

  /** Removes a handle. Returns its value, or undefined if there is none. */
  remove(handle: number): T | undefined {
    const value = this.get(handle)
    if (value === undefined) return undefined
    const n = slotOfId(handle)
    const slot = this.slots[n]
    slot.value = undefined
    this.count--
    if (slot.generation < MAX_GENERATION) {
      slot.generation++
      this.free.push(n)
    }
    return value
  }

  /** Every open handle, in the order of slots. */
  *entries(): Generator<[handle: number, value: T]> {
    for (let n = 1; n < this.slots.length; n++) {
      const { value, generation } = this.slots[n]
      if (value !== undefined) yield [idOf(n, generation), value]
    }
  }

  /** The free slots, with the generation of their next handle. */
  *freeSlots(): Generator<{ slot: number; generation: number }> {
    for (let n = 1; n < this.slots.length; n++) {
      const { value, generation } = this.slots[n]
      if (value === undefined) yield { slot: n, generation }
    }
  }

  /**
   * Puts an open handle of another device's table into this one, which has no handles of its own. Without a value the
   * handle is invalid from now on. Returns false if the slot is taken. Call `restored` after the last one.
   */
  restore(slot: number, generation: number, value: T | undefined): boolean {
    while (this.slots.length <= slot) this.slots.push({ value: undefined, generation: 0 })
    const there = this.slots[slot]
    if (slot === 0 || there.value !== undefined) return false
    there.value = value
    there.generation = value === undefined ? Math.min(generation + 1, MAX_GENERATION) : generation
    if (value !== undefined) this.count++
    return true
  }

  /** Sets the generation of the next handle of a free slot. Returns false if the slot is taken. */
  restoreFree(slot: number, generation: number): boolean {
    return generation === 0 ? this.isFree(slot) : this.restore(slot, generation - 1, undefined)
  }

  /** Every handle has been restored: the other slots are free. */
  restored(): void {
    this.free.length = 0
    for (const { slot, generation } of this.freeSlots()) if (generation < MAX_GENERATION) this.free.push(slot)
  }

  private isFree(slot: number): boolean {
    return slot > 0 && this.slots[slot]?.value === undefined
  }

  /** Removes all handles. */
  clear(close: (value: T) => void): void {
    for (const { value } of this.slots.splice(1)) if (value !== undefined) close(value)
    this.free.length = 0
    this.count = 0
  }
}
