/**
 * The guest's ids for inodes and handles: slot + generation * 2^32. Slots are dense, so tables are plain arrays. The
 * generation makes an old id invalid when its slot is used again. No id is used twice: a slot without generations left is
 * never used again.
 */
const SLOT_RANGE = 0x1_0000_0000

/** Ids stay below 2^53. */
export const MAX_GENERATION = 0x1fffff

export function idOf(slot: number, generation: number): number {
  return generation * SLOT_RANGE + slot
}

/** `id` is a safe integer, or -1 for an unsafe one, which gives a slot outside every table. */
export function slotOfId(id: number): number {
  return id >>> 0
}

export function generationOfId(id: number): number {
  return id < SLOT_RANGE ? 0 : Math.floor(id / SLOT_RANGE)
}
