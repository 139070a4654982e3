/**
 * Ids that a guest gets for inodes and handles: slot + generation * 2^32. Slots are dense, so that tables are plain
 * arrays; the generation makes an id that was given back worthless when its slot is used again. No id is ever given
 * twice: a slot whose generations are used up is left alone.
 */
const SLOT_RANGE = 0x1_0000_0000

/** Ids stay below 2^53. */
export const MAX_GENERATION = 0x1fffff

export function idOf(slot: number, generation: number): number {
  return generation * SLOT_RANGE + slot
}

/** `id` is a safe integer, or -1 for one that was not: a slot that no table reaches. */
export function slotOfId(id: number): number {
  return id >>> 0
}

export function generationOfId(id: number): number {
  return id < SLOT_RANGE ? 0 : Math.floor(id / SLOT_RANGE)
}
