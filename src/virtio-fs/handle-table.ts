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

  /** Removes all handles. */
  clear(close: (value: T) => void): void {
    for (const { value } of this.slots.splice(1)) if (value !== undefined) close(value)
    this.free.length = 0
    this.count = 0
  }
}
