/** Data by slot is stored in chunks of this many slots, which are never copied or moved. */
export const CHUNK_BITS = 14
export const CHUNK_SLOTS = 1 << CHUNK_BITS
export const CHUNK_MASK = CHUNK_SLOTS - 1

/** Returns the chunk of a slot, and makes it on first use: for data that only some slots have. */
export function chunkOf<C>(chunks: (C | undefined)[], slot: number, Chunk: new () => C): C {
  const n = slot >>> CHUNK_BITS
  let chunk = chunks[n]
  if (chunk === undefined) {
    chunk = new Chunk()
    chunks[n] = chunk
  }
  return chunk
}
