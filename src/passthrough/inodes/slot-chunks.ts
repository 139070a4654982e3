/** What is kept by slot lies in chunks of so many, which are never copied or moved. */
export const CHUNK_BITS = 14
export const CHUNK_SLOTS = 1 << CHUNK_BITS
export const CHUNK_MASK = CHUNK_SLOTS - 1

/** The chunk of a slot, made when there is none yet: for what only some slots have. */
export function chunkOf<C>(chunks: (C | undefined)[], slot: number, Chunk: new () => C): C {
  const n = slot >>> CHUNK_BITS
  let chunk = chunks[n]
  if (chunk === undefined) {
    chunk = new Chunk()
    chunks[n] = chunk
  }
  return chunk
}
