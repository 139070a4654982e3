import { CHUNK_PARTS, type ChunkPart, WORD_PARTS, WORDS_EACH } from '../inodes/table-space.js'
import { Epochs, LINE_WORDS } from './epochs.js'
import { SharedChunks } from './shared-chunks.js'
import { SharedDeviceNumbers } from './shared-device-numbers.js'
import { SharedShards } from './shared-shards.js'
import { TableLock } from './table-guard.js'

/** Inodes that the tables have slots for, at most: what a guest knows beyond `--inode-limit` is refused before. */
export const SLOT_LIMIT = 1 << 26

/** Tables that several threads share: give it to each of them. Memory is used as the tables grow. */
export interface TableMemory {
  readonly threads: number
  readonly words: SharedArrayBuffer
  readonly chunks: Readonly<Record<ChunkPart, SharedArrayBuffer>>
  readonly shards: SharedArrayBuffer
}

/** The parts of `words`, in this order, and the number of words of each. */
export interface WordLayout {
  readonly lock: number
  readonly budget: number
  readonly epochs: number
  readonly parts: number
  readonly devices: number
  readonly shards: number
  readonly made: number
  readonly end: number
}

export function wordLayout(threads: number): WordLayout {
  const lock = 0
  const budget = lock + LINE_WORDS
  const epochs = budget + LINE_WORDS
  const parts = epochs + Epochs.wordCount(threads)
  const devices = parts + WORD_PARTS.length * WORDS_EACH
  const shards = devices + SharedDeviceNumbers.WORDS
  const made = shards + SharedShards.WORDS
  const end = made + CHUNK_PARTS.length * SharedChunks.MADE_WORDS
  return { lock, budget, epochs, parts, devices, shards, made, end }
}

/** One of the threads has failed, perhaps in the middle of a change: the others fail, too, rather than wait for it. */
export function breakTables({ words, threads }: TableMemory): void {
  new TableLock(new Int32Array(words), wordLayout(threads).lock).break()
}

/** Makes empty tables for this many threads. */
export function makeTableMemory(threads: number): TableMemory {
  const reserve = (part: ChunkPart) =>
    new SharedArrayBuffer(0, { maxByteLength: SharedChunks.maxBytes(part, SLOT_LIMIT) })
  return {
    threads,
    words: new SharedArrayBuffer(4 * wordLayout(threads).end),
    chunks: {
      inodes: reserve('inodes'),
      descriptors: reserve('descriptors'),
      handles: reserve('handles'),
      openDescriptors: reserve('openDescriptors'),
      versions: reserve('versions'),
      dirty: reserve('dirty'),
      files: reserve('files'),
      directories: reserve('directories'),
    },
    shards: new SharedArrayBuffer(0, { maxByteLength: SharedShards.maxBytes(SLOT_LIMIT) }),
  }
}
