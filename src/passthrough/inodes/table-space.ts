import * as native from 'virtiofsd-ts-native'
import { type TableGuard, unguarded } from '../shared/table-guard.js'
import { type DeviceNumbers, OwnDeviceNumbers } from './device-numbers.js'
import type { FdBudget } from './fd-budget.js'
import { OwnShards, type ShardPlace } from './inode-index.js'
import { type ChunkPlace, ownChunks } from './slot-chunks.js'

/** Tables with data by slot. */
export const CHUNK_PARTS = [
  'inodes',
  'descriptors',
  'handles',
  'openDescriptors',
  'versions',
  'dirty',
  'files',
  'directories',
] as const
export type ChunkPart = (typeof CHUNK_PARTS)[number]

/** Tables with a few numbers of their own. */
export const WORD_PARTS = ['inodes', 'descriptors', 'index', 'files', 'directories', 'refused'] as const
export type WordPart = (typeof WORD_PARTS)[number]

/** Room for the numbers of one table. */
export const WORDS_EACH = 768

/** The memory in which the tables of a share lie: that of one thread, or memory that several threads share. */
export interface TableSpace {
  readonly guard: TableGuard
  readonly devices: DeviceNumbers
  readonly shards: ShardPlace
  /** False if other threads cannot see what this one remembers by itself. */
  readonly isAlone: boolean
  /** WORDS_EACH numbers, 0 at first. */
  words(part: WordPart): Int32Array
  chunks(part: ChunkPart): ChunkPlace
  /** Closes a descriptor that no table has any more, and gives its place in `budget` back. */
  close(fd: number, budget: FdBudget): void
  /** Returns a function that has `free` called for a slot once no thread can have read it. */
  retiring(free: (slot: number) => void): (slot: number) => void
  /** Tries to close descriptors that other threads may still be using. */
  hasten(): void
  /** Has one thread serve the whole share from now on: it remembers what others would not see. */
  needOneThread(reason: string): void
}

/** Memory of one thread. */
export class OwnSpace implements TableSpace {
  readonly guard = unguarded
  readonly devices = new OwnDeviceNumbers()
  readonly shards = new OwnShards()
  readonly isAlone = true

  words(): Int32Array {
    return new Int32Array(WORDS_EACH)
  }

  chunks(): ChunkPlace {
    return ownChunks
  }

  close(fd: number, budget: FdBudget): void {
    native.close(fd)
    budget.give()
  }

  retiring(free: (slot: number) => void): (slot: number) => void {
    return free
  }

  hasten(): void {}

  needOneThread(): void {}
}
