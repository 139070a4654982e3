/** The guest's open files or directories, by handle: a HandleTable, or one that threads share. */
export interface Handles<T> {
  readonly count: number
  /** Takes `value` over. Returns its handle. */
  add(value: T): number
  /** Returns undefined for a handle that the guest invented or has released. */
  get(handle: number): T | undefined
  /** Removes a handle. Returns its value, which the caller releases, or undefined if there is none. */
  remove(handle: number): T | undefined
  entries(): Generator<[handle: number, value: T]>
  freeSlots(): Generator<{ slot: number; generation: number }>
  /** For these see HandleTable. */
  restore(slot: number, generation: number, value: T | undefined): boolean
  restoreFree(slot: number, generation: number): boolean
  restored(): void
  clear(close: (value: T) => void): void
}
