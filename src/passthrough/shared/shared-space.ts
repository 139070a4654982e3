import * as native from 'virtiofsd-ts-native'
import { FdBudget } from '../inodes/fd-budget.js'
import type { ChunkPlace } from '../inodes/slot-chunks.js'
import {
  CHUNK_PARTS,
  type ChunkPart,
  type TableSpace,
  WORD_PARTS,
  WORDS_EACH,
  type WordPart,
} from '../inodes/table-space.js'
import { Epochs } from './epochs.js'
import { SharedChunks } from './shared-chunks.js'
import { SharedDeviceNumbers } from './shared-device-numbers.js'
import { SharedShards } from './shared-shards.js'
import { TableLock } from './table-guard.js'
import { type TableMemory, type WordLayout, wordLayout } from './table-memory.js'

/** Kinds of what waits to be freed: a descriptor, or a slot of one of the tables of handles. */
const KINDS = 4
const DESCRIPTOR = 0

/**
 * Descriptors that wait and no longer count, of all threads: those that a batch gives up make room at once. The process keeps
 * twice as many for itself.
 */
const SLACK = 128

/** A thread that needs descriptors waits at most this long for those that others may be using. */
const HASTE_MS = 100
const SLICE_MS = 1
/** Descriptors that wait are looked at again after this time, if nothing else happens. */
const COLLECT_MS = 5
/** The same while a batch of another thread does not end. */
const HELD_UP_MS = 50

/** Counts the descriptors of all threads of a share. */
export class SharedFdBudget extends FdBudget {
  /** `counts[at]`: a word of shared memory. */
  constructor(
    limit: number | Int32Array,
    private readonly counts: Int32Array,
    private readonly at: number,
  ) {
    super(limit)
  }

  override get used(): number {
    return Atomics.load(this.counts, this.at)
  }

  override take(): void {
    Atomics.add(this.counts, this.at, 1)
  }

  override give(count = 1): void {
    Atomics.sub(this.counts, this.at, count)
  }
}

/** The place of a thread among those that serve a share together. */
export interface SharedPlace {
  readonly memory: TableMemory
  /** The number of the thread; 0 for the owner of the connection. */
  readonly thread: number
  /** Returns true while no other thread serves the share. */
  isAlone(): boolean
  /** From now on one thread has to serve the session: others soon stand still, and leave everything to the owner. */
  needsOneThread(reason: string): void
  /** Throws if another thread has died. Nobody else notices: what it had locked stays so. */
  checkOthers(): void
}

/** One thread's way to the memory that the threads of a share have together. */
export class SharedSpace implements TableSpace {
  readonly guard: TableLock
  readonly devices: SharedDeviceNumbers
  readonly shards: SharedShards
  readonly budget: FdBudget
  private readonly all: Int32Array
  private readonly layout: WordLayout
  private readonly epochs: Epochs
  /** What becomes of slots that no thread can have read any more, by kind. */
  private readonly freeSlot: ((slot: number) => void)[] = []
  /** Of the descriptors that wait: those that do not count any more, and how many these may be. */
  private uncounted = 0
  private readonly slack: number
  private readonly sleepWord = new Int32Array(new SharedArrayBuffer(4))
  /** The batch that was waited for in vain; 0: none. It is not waited for again. */
  private stuck = 0

  /** `fdLimit`: see FdBudget. */
  constructor(
    private readonly place: SharedPlace,
    fdLimit: number | Int32Array,
  ) {
    const { memory, thread } = place
    const { threads } = memory
    const layout = wordLayout(threads)
    this.layout = layout
    this.slack = Math.floor(SLACK / threads)
    this.all = new Int32Array(memory.words)
    this.guard = new TableLock(this.all, layout.lock, () => place.checkOthers())
    this.devices = new SharedDeviceNumbers(this.all.subarray(layout.devices, layout.shards), this.guard)
    this.shards = new SharedShards(this.all.subarray(layout.shards, layout.made), memory.shards)
    this.budget = new SharedFdBudget(fdLimit, this.all, layout.budget)
    const epochs = this.all.subarray(layout.epochs, layout.parts)
    this.epochs = new Epochs(epochs, thread, threads, (value) =>
      this.free(Math.floor(value / KINDS), value % KINDS),
    )
  }

  get thread(): number {
    return this.place.thread
  }

  get isAlone(): boolean {
    return this.place.isAlone()
  }

  needOneThread(reason: string): void {
    this.place.needsOneThread(reason)
  }

  words(part: WordPart): Int32Array {
    const at = this.layout.parts + WORD_PARTS.indexOf(part) * WORDS_EACH
    return this.all.subarray(at, at + WORDS_EACH)
  }

  chunks(part: ChunkPart): ChunkPlace {
    const at = 4 * (this.layout.made + CHUNK_PARTS.indexOf(part) * SharedChunks.MADE_WORDS)
    const made = new Uint8Array(this.place.memory.words, at, 4 * SharedChunks.MADE_WORDS)
    return new SharedChunks(part, this.place.memory.chunks[part], made)
  }

  /** Opens a batch: no descriptor and no row that this thread reads is freed before `leave`. */
  enter(): void {
    this.epochs.enter()
  }

  leave(): void {
    this.epochs.leave()
  }

  /** Milliseconds until `leave` has something to free, or -1 for never. */
  nextDueMs(): number {
    if (this.epochs.waiting === 0) return -1
    return this.epochs.isHeldUp ? HELD_UP_MS : COLLECT_MS
  }

  /** Few descriptors that wait do not count. The others count until they are closed. */
  close(fd: number): void {
    this.retire(fd, DESCRIPTOR)
    if (this.isAlone || this.uncounted >= this.slack) return
    this.uncounted++
    this.budget.give()
  }

  retiring(free: (slot: number) => void): (slot: number) => void {
    const kind = this.freeSlot.push(free)
    return (slot) => this.retire(slot, kind)
  }

  private retire(n: number, kind: number): void {
    if (this.isAlone) this.free(n, kind)
    else this.epochs.retire(n * KINDS + kind)
  }

  /** The tables are cleared: slots that wait are none of theirs any more. */
  forgetSlots(): void {
    this.epochs.drop((value) => value % KINDS !== DESCRIPTOR)
  }

  hasten(): void {
    const { epochs, budget } = this
    if (this.stuck !== 0 && epochs.blocker() === this.stuck) return
    for (let n = 0; n < HASTE_MS / SLICE_MS; n++) {
      epochs.collect()
      // Others cannot end what they do while this thread has the lock.
      if (budget.left > 0 || epochs.waiting === 0 || this.guard.isHeld) return
      Atomics.wait(this.sleepWord, 0, 0, SLICE_MS)
    }
    this.stuck = epochs.blocker()
  }

  private free(n: number, kind: number): void {
    if (kind !== DESCRIPTOR) this.freeSlot[kind - 1](n)
    else {
      native.close(n)
      if (this.uncounted > 0) this.uncounted--
      else this.budget.give()
    }
  }
}
