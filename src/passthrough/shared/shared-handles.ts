import { generationOfId, idOf, MAX_GENERATION, slotOfId } from 'virtio-fs-ts/protocol'
import type { Handles } from '../files/handles.js'
import type { HeldFd } from '../files/held-fd.js'
import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList } from '../inodes/slot-chunks.js'
import type { SharedSpace } from './shared-space.js'

/** What a handle stands for, as so many numbers. */
export const FIELDS = 5

class Chunk {
  readonly generation: Int32Array
  /** Whoever uses the row: 1 for the guest that has the handle, and 1 for each system call. 0: it is free. */
  readonly users: Int32Array
  /** 1 if the guest has the handle. */
  readonly isOpen: Int32Array
  readonly nextFree: Int32Array
  /** FIELDS for each slot. */
  readonly fields: Int32Array

  constructor(arrays: ChunkArrays) {
    this.generation = arrays.int32(CHUNK_SLOTS)
    this.users = arrays.int32(CHUNK_SLOTS)
    this.isOpen = arrays.int32(CHUNK_SLOTS)
    this.nextFree = arrays.int32(CHUNK_SLOTS)
    this.fields = arrays.int32(CHUNK_SLOTS * FIELDS)
  }
}

const FREE_SLOT = 0
const END = 1
const COUNT = 2

/** One thread's object for a row that several threads use. */
interface Seen<T> {
  readonly handle: number
  readonly value: T
}

/**
 * The guest's handles, for several threads. A handle is a row of numbers; each thread makes an object of its own for a row
 * that it meets. The descriptors of a row are closed when nobody uses it any more.
 */
export abstract class SharedHandles<T extends HeldFd> implements Handles<T> {
  private readonly chunks: ChunkList<Chunk>
  private readonly words: Int32Array
  private readonly seen: (Seen<T> | undefined)[] = []
  private readonly retire: (slot: number) => void
  private readonly fields = new Int32Array(FIELDS)

  constructor(
    protected readonly space: SharedSpace,
    part: 'files' | 'directories',
  ) {
    this.chunks = new ChunkList(Chunk, space.chunks(part))
    this.words = space.words(part)
    this.retire = space.retiring((slot) => this.giveSlot(slot))
  }

  /** Writes what a value stands for. */
  protected abstract write(value: T, fields: Int32Array): void
  /** Makes this thread's object for a row. */
  protected abstract read(slot: number, fields: Int32Array): T

  /** Called for this thread's object of a handle that another one has ended. */
  protected unsee(_value: T): void {}

  get count(): number {
    return this.words[COUNT]
  }

  add(value: T): number {
    const { guard } = this.space
    guard.lock()
    const slot = this.takeSlot()
    const { generation } = this.fill(slot, value)
    const handle = idOf(slot, generation[slot & CHUNK_MASK])
    guard.unlock()
    return handle
  }

  get(handle: number): T | undefined {
    const slot = slotOfId(handle)
    if (!this.isOpen(slot, handle)) return undefined
    const seen = this.seen[slot]
    return seen?.handle === handle ? seen.value : this.see(slot, handle)
  }

  remove(handle: number): T | undefined {
    const value = this.get(handle)
    const slot = slotOfId(handle)
    const { guard } = this.space
    guard.lock()
    // Another thread may have removed it meanwhile.
    const isRemoved = value !== undefined && this.isOpen(slot, handle)
    if (isRemoved) {
      const chunk = this.chunks.known(slot)
      const at = slot & CHUNK_MASK
      Atomics.store(chunk.isOpen, at, 0)
      if (chunk.generation[at] < MAX_GENERATION) Atomics.add(chunk.generation, at, 1)
      this.words[COUNT]--
      this.seen[slot] = undefined
    }
    guard.unlock()
    return isRemoved ? value : undefined
  }

  *entries(): Generator<[handle: number, value: T]> {
    for (const slot of this.slots()) {
      const { isOpen, generation } = this.chunks.known(slot)
      const at = slot & CHUNK_MASK
      if (isOpen[at] === 0) continue
      const handle = idOf(slot, generation[at])
      const value = this.get(handle)
      if (value !== undefined) yield [handle, value]
    }
  }

  *freeSlots(): Generator<{ slot: number; generation: number }> {
    for (const slot of this.slots()) {
      const { isOpen, generation } = this.chunks.known(slot)
      if (isOpen[slot & CHUNK_MASK] === 0) yield { slot, generation: generation[slot & CHUNK_MASK] }
    }
  }

  restore(slot: number, generation: number, value: T | undefined): boolean {
    if (slot === 0) return false
    const chunk = this.chunks.of(slot)
    const at = slot & CHUNK_MASK
    if (chunk.isOpen[at] === 1) return false
    this.words[END] = Math.max(this.slotsEnd, slot + 1)
    chunk.generation[at] = value === undefined ? Math.min(generation + 1, MAX_GENERATION) : generation
    if (value !== undefined) this.fill(slot, value)
    return true
  }

  restoreFree(slot: number, generation: number): boolean {
    if (generation > 0) return this.restore(slot, generation - 1, undefined)
    return slot > 0 && this.chunks.at(slot)?.isOpen[slot & CHUNK_MASK] !== 1
  }

  restored(): void {
    this.words[FREE_SLOT] = 0
    for (const { slot } of this.freeSlots()) this.giveSlot(slot)
  }

  /** Call it while no other thread serves the share. */
  clear(close: (value: T) => void): void {
    for (const [handle, value] of this.entries()) {
      this.remove(handle)
      close(value)
    }
    this.space.leave()
    this.chunks.clear()
    this.words.fill(0)
    this.lookAgain()
  }

  /** Forgets what this thread has seen of a table that another one has cleared. */
  lookAgain(): void {
    this.chunks.lookAgain()
    this.seen.length = 0
  }

  /** One more system call uses a row. Returns false if it has been given up meanwhile. */
  holdRow(slot: number): boolean {
    const { guard } = this.space
    guard.lock()
    const { users } = this.chunks.known(slot)
    const isThere = users[slot & CHUNK_MASK] > 0
    if (isThere) users[slot & CHUNK_MASK]++
    guard.unlock()
    return isThere
  }

  /** A system call has returned, or the guest has released the handle. Returns true if nobody uses the row any more. */
  releaseRow(slot: number): boolean {
    const { guard } = this.space
    guard.lock()
    const isLast = --this.chunks.known(slot).users[slot & CHUNK_MASK] === 0
    guard.unlock()
    if (isLast) this.retire(slot)
    return isLast
  }

  /** Closes a descriptor of a row that nobody uses any more, when no thread can be using it. */
  closeLater(fd: number): void {
    this.space.close(fd)
  }

  usersOf(slot: number): number {
    return this.chunks.known(slot).users[slot & CHUNK_MASK]
  }

  /** The fields of a row, valid until the next call. */
  protected fieldsOf(slot: number): Int32Array {
    const { fields } = this.chunks.known(slot)
    const at = (slot & CHUNK_MASK) * FIELDS
    for (let n = 0; n < FIELDS; n++) this.fields[n] = fields[at + n]
    return this.fields
  }

  protected setField(slot: number, n: number, value: number): void {
    this.chunks.known(slot).fields[(slot & CHUNK_MASK) * FIELDS + n] = value
  }

  private isOpen(slot: number, handle: number): boolean {
    const chunk = this.chunks.at(slot)
    const at = slot & CHUNK_MASK
    if (chunk === undefined) return false
    // In this order: a row that is ended, and then gets the next generation, is not found by that one.
    const isOfHandle = Atomics.load(chunk.generation, at) === generationOfId(handle)
    return isOfHandle && Atomics.load(chunk.isOpen, at) === 1
  }

  private see(slot: number, handle: number): T {
    const before = this.seen[slot]
    if (before !== undefined) this.unsee(before.value)
    const value = this.read(slot, this.fieldsOf(slot))
    while (this.seen.length <= slot) this.seen.push(undefined)
    this.seen[slot] = { handle, value }
    return value
  }

  private fill(slot: number, value: T): Chunk {
    const chunk = this.chunks.known(slot)
    const at = slot & CHUNK_MASK
    this.write(value, this.fields)
    chunk.fields.set(this.fields, at * FIELDS)
    chunk.users[at] = 1
    this.words[COUNT]++
    // Last: from now on, any thread may find it.
    Atomics.store(chunk.isOpen, at, 1)
    return chunk
  }

  private takeSlot(): number {
    const slot = this.words[FREE_SLOT]
    if (slot !== 0) {
      this.words[FREE_SLOT] = this.chunks.known(slot).nextFree[slot & CHUNK_MASK]
      return slot
    }
    const fresh = this.slotsEnd
    this.chunks.of(fresh)
    this.words[END] = fresh + 1
    return fresh
  }

  /** No thread uses a slot any more. */
  private giveSlot(slot: number): void {
    const { guard } = this.space
    guard.lock()
    const { generation, nextFree } = this.chunks.known(slot)
    if (generation[slot & CHUNK_MASK] < MAX_GENERATION) {
      nextFree[slot & CHUNK_MASK] = this.words[FREE_SLOT]
      this.words[FREE_SLOT] = slot
    }
    guard.unlock()
  }

  private get slotsEnd(): number {
    return Math.max(1, this.words[END])
  }

  private slots(): Generator<number> {
    return this.chunks.slots(1, this.slotsEnd)
  }
}
