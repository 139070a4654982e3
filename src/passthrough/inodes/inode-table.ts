import {
  FUSE_ROOT_ID,
  generationOfId,
  has,
  type InitAgreement,
  InitFlag,
  idOf,
  MAX_GENERATION,
  Statx,
  type StatxWords,
  slotOfId,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { InodeRecord } from '../../state/inode-records.js'
import { ReportedVersions } from '../reported-versions.js'
import { DirtyFiles } from './dirty-files.js'
import { GivenBackInodes } from './given-back-inodes.js'
import type { InodeFds } from './inode-fds.js'
import { InodeIndex } from './inode-index.js'
import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList } from './slot-chunks.js'
import { STATX_MASK } from './statx.js'
import type { TableSpace } from './table-space.js'

/** The identities of 16,384 inodes, 33 bytes each. Chunks are never copied or moved. */
class Chunk {
  /** Lookups that the guest has not forgotten. Exceeds 2^32 after a week of READDIRPLUS without caching, so no u32. */
  readonly lookups: Float64Array
  /** The same as words. The upper one is 0 only for no lookups. */
  private readonly lookupWords: Int32Array
  /** For a free slot: the next free slot. */
  readonly nextFree: Int32Array
  readonly inoLow: Int32Array
  readonly inoHigh: Int32Array
  readonly device: Int32Array
  readonly generation: Int32Array
  /** The file type (S_IFMT bits of the mode, shifted down) and NOT_INDEXED. */
  readonly type: Uint8Array

  constructor(arrays: ChunkArrays) {
    this.lookups = arrays.float64(CHUNK_SLOTS)
    this.lookupWords = new Int32Array(this.lookups.buffer, this.lookups.byteOffset, 2 * CHUNK_SLOTS)
    this.nextFree = arrays.int32(CHUNK_SLOTS)
    this.inoLow = arrays.int32(CHUNK_SLOTS)
    this.inoHigh = arrays.int32(CHUNK_SLOTS)
    this.device = arrays.int32(CHUNK_SLOTS)
    this.generation = arrays.int32(CHUNK_SLOTS)
    this.type = arrays.uint8(CHUNK_SLOTS)
  }

  /** Returns true if the guest knows the inode. What this thread reads of it after that is not older. */
  isKnown(at: number): boolean {
    return Atomics.load(this.lookupWords, 2 * at + 1) !== 0
  }
}

/** The numbers of the table. */
const FREE_SLOT = 0
const NEXT_SLOT = 1
const COUNT = 2

/** Most forgotten inodes kept for the guest: about 120 MB. */
const MAX_GIVEN_BACK = 1 << 20

/** The host has given the inode's number to another file. */
const NOT_INDEXED = 0x80

/** File types as returned by `typeOf`: S_IFMT bits >> 12. */
export const TYPE_DIRECTORY = 0o04
export const TYPE_REGULAR = 0o10
export const TYPE_SYMLINK = 0o12

/**
 * The inodes that the guest knows, by slot: their identities on the host, their lookup counts and their descriptors.
 *
 * Slot 0 is no inode. Slot FUSE_ROOT_ID is the shared directory and stays for the whole session.
 *
 * Several threads may use one table: each has an object of this class on the same memory. Whatever changes the table, or
 * needs two parts of it to fit each other, holds the lock of the memory. A slot and its descriptor can be read without.
 */
export class InodeTable {
  private readonly chunks: ChunkList<Chunk>
  private readonly words: Int32Array
  private readonly index: InodeIndex
  readonly versions: ReportedVersions
  readonly dirty: DirtyFiles
  private readonly givenBack = new GivenBackInodes()
  /** Keep forgotten inodes that can be reopened: the guest may ask for them by node id. */
  private keepsGivenBack = false
  private readonly retire: (slot: number) => void
  /** Called before an inode is forgotten. */
  onRelease: ((slot: number) => void) | undefined

  constructor(
    readonly fds: InodeFds,
    private readonly space: TableSpace,
  ) {
    this.chunks = new ChunkList(Chunk, space.chunks('inodes'))
    this.words = space.words('inodes')
    this.index = new InodeIndex(this, space.shards, space.words('index'))
    this.versions = new ReportedVersions(space)
    this.dirty = new DirtyFiles(space)
    this.retire = space.retiring((slot) => this.giveSlot(slot))
    fds.isAsTold = (slot, st) => this.isAsTold(slot, st)
  }

  begin({ flags }: InitAgreement): void {
    this.keepsGivenBack = has(flags, InitFlag.EXPORT_SUPPORT)
    this.dirty.writesBack = has(flags, InitFlag.WRITEBACK_CACHE)
  }

  /** Number of known inodes, including the root and the forgotten ones that are kept. */
  get count(): number {
    return this.words[COUNT]
  }

  /** True if there is no slot for one more: those that wait until no thread can have read them count, too. */
  get isFull(): boolean {
    return this.words[FREE_SLOT] === 0 && this.slotsEnd >= this.chunks.slotsLimit
  }

  /** Holds other threads off until `unlock`, for what takes more than one call. */
  lock(): void {
    this.space.guard.lock()
  }

  unlock(): void {
    this.space.guard.unlock()
  }

  /** The slot of a node id, or 0 if the guest invented or has forgotten it. */
  slotOf(nodeid: number): number {
    const slot = slotOfId(nodeid)
    const chunk = this.chunks.at(slot)
    if (chunk === undefined) return 0
    const at = slot & CHUNK_MASK
    return chunk.isKnown(at) && chunk.generation[at] === generationOfId(nodeid) ? slot : 0
  }

  /** The slot of a node id, including those that the guest has forgotten and may ask for again. */
  keptSlotOf(nodeid: number): number {
    const slot = slotOfId(nodeid)
    return this.givenBack.has(slot) && this.idOf(slot) === nodeid ? slot : this.slotOf(nodeid)
  }

  idOf(slot: number): number {
    return idOf(slot, this.chunkOf(slot).generation[slot & CHUNK_MASK])
  }

  /** Returns the O_PATH descriptor. Errors: ESTALE (the file is deleted on the host), ENFILE. */
  fdOf(slot: number): number {
    return this.fds.get(slot)
  }

  /** Fills `st` with the inode's present attributes. Returns 0 or a negative errno. */
  stat(slot: number, st: StatxWords): number {
    const fd = this.fdOf(slot)
    return fd < 0 ? fd : native.fstatx(fd, STATX_MASK, st)
  }

  typeOf(slot: number): number {
    return this.chunkOf(slot).type[slot & CHUNK_MASK] & ~NOT_INDEXED
  }

  deviceOf(slot: number): number {
    return this.chunkOf(slot).device[slot & CHUNK_MASK]
  }

  inoLowOf(slot: number): number {
    return this.chunkOf(slot).inoLow[slot & CHUNK_MASK]
  }

  inoHighOf(slot: number): number {
    return this.chunkOf(slot).inoHigh[slot & CHUNK_MASK]
  }

  /**
   * Returns the slot of the file with the attributes `st` and the name `name` in `parentFd` ("" for `parentFd` itself), or 0.
   */
  find(st: StatxWords, parentFd: number, name: Uint8Array, nameAt: number): number {
    return this.findOn(this.deviceFor(st), st, parentFd, name, nameAt)
  }

  /** The same, and counts a lookup of what it returns. */
  findAndRef(st: StatxWords, parentFd: number, name: Uint8Array, nameAt: number): number {
    this.lock()
    const slot = this.find(st, parentFd, name, nameAt)
    if (slot !== 0) this.ref(slot)
    this.unlock()
    return slot
  }

  /** The numbers of the device of `st`, one for each mount by which the guest knows its inodes. */
  devicesOf(st: StatxWords): number[] {
    return this.space.devices.numbersOf(st)
  }

  /** The same as `find`, by one of the numbers that `devicesOf` returns. */
  findOn(device: number, st: StatxWords, parentFd: number, name: Uint8Array, nameAt: number): number {
    this.lock()
    let slot = this.index.find(device, Statx.inoLow(st), Statx.inoHigh(st))
    if (slot !== 0 && !this.fds.isFile(slot, parentFd, name, nameAt)) {
      if (this.givenBack.has(slot)) this.drop(slot)
      else this.disown(slot)
      slot = 0
    }
    this.unlock()
    return slot
  }

  /** The slot of the file with the attributes `st` if the guest knows it, or 0. */
  slotFor(st: StatxWords): number {
    return this.slotAt(this.deviceFor(st), Statx.inoLow(st), Statx.inoHigh(st))
  }

  /** The slot of an inode by the table's own device number and the host's inode number, or 0. */
  slotAt(device: number, inoLow: number, inoHigh: number): number {
    const slot = this.index.find(device, inoLow, inoHigh)
    return slot !== 0 && this.lookupsOf(slot) > 0 ? slot : 0
  }

  /** Takes over `fd`, an O_PATH descriptor of the file of `st`, which `find` did not know. Counts one lookup. */
  add(fd: number, st: StatxWords): number {
    this.lock()
    const slot = this.takeSlot()
    this.fill(slot, fd, st)
    this.index.add(slot)
    this.unlock()
    return slot
  }

  /** Returns true if the guest knows an inode in this slot, which may lie outside the table. */
  isKnown(slot: number): boolean {
    const chunk = this.chunks.at(slot)
    return chunk !== undefined && chunk.lookups[slot & CHUNK_MASK] > 0
  }

  lookupsOf(slot: number): number {
    return this.chunkOf(slot).lookups[slot & CHUNK_MASK]
  }

  /** The slots of inodes that the guest knows, in order. */
  *known(): Generator<number> {
    for (const slot of this.slots()) if (this.lookupsOf(slot) > 0) yield slot
  }

  private slots(): Generator<number> {
    return this.chunks.slots(FUSE_ROOT_ID, this.slotsEnd)
  }

  /** The end of the slots in use. */
  get slotsEnd(): number {
    return Math.max(FUSE_ROOT_ID, this.words[NEXT_SLOT])
  }

  /** The other slots, with the generation of their next inode. A slot of MAX_GENERATION is not used again. */
  *freeSlots(): Generator<{ slot: number; generation: number }> {
    for (const slot of this.slots()) {
      const generation = this.chunkOf(slot).generation[slot & CHUNK_MASK]
      if (this.givenBack.has(slot)) yield { slot, generation: Math.min(generation + 1, MAX_GENERATION) }
      else if (this.lookupsOf(slot) === 0) yield { slot, generation }
    }
  }

  /**
   * Puts an inode of another device's table into this one, which had the root alone.
   * `held` is a descriptor that is taken over, a handle for which `canRest` is true, or -1 for a lost inode: each use of that
   * is ESTALE. Call `restored` after the last one.
   */
  restore(
    slot: number,
    generation: number,
    lookups: number,
    held: number | Uint8Array,
    st: StatxWords,
  ): void {
    this.reserve(slot)
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const isResting = typeof held !== 'number'
    if (isResting) this.fill(slot, -1, st, held)
    else this.fill(slot, held, st)
    chunk.generation[at] = generation
    chunk.lookups[at] = lookups
    const isKnown =
      (isResting || held >= 0) && this.index.find(chunk.device[at], chunk.inoLow[at], chunk.inoHigh[at]) === 0
    if (isKnown) this.index.add(slot)
    else chunk.type[at] |= NOT_INDEXED
  }

  /**
   * The same for an inode with a handle for which `canRest` is true, on the device of `st`. Its type and its inode number are
   * those of `record` until its file is opened, and is found to be another one.
   */
  restoreResting(record: InodeRecord, handle: Uint8Array, st: StatxWords): void {
    const device = this.deviceFor(st)
    const isDouble = this.index.find(device, record.inoLow, record.inoHigh) !== 0
    this.put(record, -1, device, handle, isDouble)
  }

  /** The devices of inodes, as `deviceFor` knows them. */
  get knownDevices(): ReadonlyMap<string, number> {
    return this.space.devices.known
  }

  /** See DeviceNumbers.adopt. */
  adoptDevices(devices: Iterable<readonly [key: string, device: number]>): void {
    this.space.devices.adopt(devices)
  }

  /** Prepares for so many inodes. */
  expect(count: number): void {
    this.index.reserve(count)
  }

  /** Returns true if the file with the attributes `st` can be the one that another device has described. */
  private isAsTold(slot: number, st: StatxWords): boolean {
    const isSame = this.inoLowOf(slot) === Statx.inoLow(st) && this.inoHighOf(slot) === Statx.inoHigh(st)
    return isSame && this.typeOf(slot) === Statx.mode(st) >>> 12
  }

  /** Returns true if `st` are the attributes of the inode of this slot, on the mount by which it is known. */
  isOf(slot: number, st: StatxWords): boolean {
    return this.isAsTold(slot, st) && this.deviceOf(slot) === this.deviceFor(st)
  }

  isDisowned(slot: number): boolean {
    return (this.chunkOf(slot).type[slot & CHUNK_MASK] & NOT_INDEXED) !== 0
  }

  /**
   * Takes an inode over from a table of another process: its number and its device are as they were there. Takes over `fd`,
   * or knows the inode by `handle`, or not at all. Call `restored` after the last one.
   */
  adopt(record: InodeRecord, fd: number): void {
    this.put(record, fd, record.device, record.handle, record.isDisowned)
  }

  /** Fills a record with what this table itself knows of a slot: its identity and its lookups. */
  identify(slot: number, record: InodeRecord): void {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    record.type = chunk.type[at] & ~NOT_INDEXED
    record.slot = slot
    record.generation = chunk.generation[at]
    record.lookups = chunk.lookups[at]
    record.device = chunk.device[at]
    record.inoLow = chunk.inoLow[at]
    record.inoHigh = chunk.inoHigh[at]
  }

  private put(
    record: InodeRecord,
    fd: number,
    device: number,
    handle: Uint8Array | undefined,
    isDisowned: boolean,
  ): void {
    const { slot, type } = record
    this.reserve(slot)
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    chunk.inoLow[at] = record.inoLow
    chunk.inoHigh[at] = record.inoHigh
    chunk.device[at] = device
    chunk.generation[at] = record.generation
    chunk.lookups[at] = record.lookups
    chunk.type[at] = type | (isDisowned ? NOT_INDEXED : 0)
    this.fds.adopt(slot, fd, device, type === TYPE_DIRECTORY, handle)
    this.space.devices.enter(device)
    this.words[COUNT]++
    if (!isDisowned) this.index.add(slot)
  }

  /** See InodeFds.canRest; `st` are the attributes of the file. */
  canRest(st: StatxWords, handle: Uint8Array): boolean {
    return this.fds.canRest(this.deviceFor(st), handle)
  }

  /** Sets the generation of the next inode of a free slot. Returns false if the slot is taken. */
  restoreFree(slot: number, generation: number): boolean {
    this.reserve(slot)
    if (this.lookupsOf(slot) > 0) return false
    this.chunkOf(slot).generation[slot & CHUNK_MASK] = generation
    return true
  }

  /** Every inode has been restored: the other slots are free. */
  restored(): void {
    this.words[FREE_SLOT] = 0
    for (const { slot, generation } of this.freeSlots())
      if (generation !== MAX_GENERATION) this.giveSlot(slot)
  }

  private reserve(slot: number): void {
    this.chunks.of(slot)
    if (slot >= this.slotsEnd) this.words[NEXT_SLOT] = slot + 1
  }

  /** Sets what a slot that was free stands for, except its place in the index. */
  private fill(slot: number, fd: number, st: StatxWords, handle?: Uint8Array): void {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const type = Statx.mode(st) >>> 12
    const device = this.deviceFor(st)
    chunk.inoLow[at] = Statx.inoLow(st)
    chunk.inoHigh[at] = Statx.inoHigh(st)
    chunk.device[at] = device
    chunk.type[at] = type
    this.versions.forget(slot)
    this.dirty.forget(slot)
    this.fds.adopt(slot, fd, device, type === TYPE_DIRECTORY, handle)
    this.space.devices.enter(device)
    Atomics.add(this.words, COUNT, 1)
    // Last: from now on, any thread may find it.
    chunk.lookups[at] = 1
  }

  /**
   * Counts one more lookup by the guest. Returns false if the guest has forgotten the inode since its slot was read, by a
   * request that another thread serves.
   */
  ref(slot: number): boolean {
    const at = slot & CHUNK_MASK
    this.lock()
    const { lookups } = this.chunkOf(slot)
    const isGivenBack = lookups[at] === 0 && this.givenBack.has(slot)
    const isThere = lookups[at] > 0 || isGivenBack
    if (isGivenBack) this.givenBack.remove(slot)
    if (isThere) lookups[at]++
    this.unlock()
    return isThere
  }

  /** Drops `count` lookups. A count above the current one drops them all. Without lookups the inode is closed, unless kept. */
  unref(slot: number, count: number): void {
    if (slot === FUSE_ROOT_ID) return
    this.lock()
    const { lookups } = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if (count < lookups[at]) lookups[at] -= count
    else if (lookups[at] > 0) this.giveUp(slot)
    this.unlock()
  }

  /** Drops `count` lookups of a node id, if the guest knows it. */
  forget(nodeid: number, count: number): void {
    this.lock()
    const slot = this.slotOf(nodeid)
    if (slot !== 0) this.unref(slot, count)
    this.unlock()
  }

  private giveUp(slot: number): void {
    if (this.keepsGivenBack && this.fds.rest(slot)) this.keep(slot)
    else this.release(slot)
  }

  /** Drops the inode that the guest forgot first. Returns false if there is none. */
  dropOldest(): boolean {
    const slot = this.givenBack.oldest
    if (slot === 0) return false
    this.drop(slot)
    return true
  }

  /** Closes every inode. The table is then empty and ready for a new root. */
  clear(): void {
    const { onRelease } = this
    if (onRelease !== undefined) {
      for (const slot of this.slots())
        if (this.lookupsOf(slot) > 0 || this.givenBack.has(slot)) onRelease(slot)
    }
    this.index.clear()
    this.givenBack.clear()
    this.fds.clear()
    this.versions.clear()
    this.dirty.clear()
    this.chunks.clear()
    this.words.fill(0)
    this.space.devices.clear()
  }

  /** Forgets what this thread has seen of a table that another one has cleared. */
  lookAgain(): void {
    this.chunks.lookAgain()
    this.fds.lookAgain()
    this.versions.lookAgain()
    this.dirty.lookAgain()
  }

  private keep(slot: number): void {
    this.onRelease?.(slot)
    this.chunkOf(slot).lookups[slot & CHUNK_MASK] = 0
    this.versions.forget(slot)
    this.givenBack.add(slot)
    if (this.givenBack.count > MAX_GIVEN_BACK) this.dropOldest()
  }

  private drop(slot: number): void {
    this.givenBack.remove(slot)
    this.release(slot)
  }

  private release(slot: number): void {
    this.onRelease?.(slot)
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if ((chunk.type[at] & NOT_INDEXED) === 0) this.index.remove(slot)
    this.fds.forget(slot)
    if (this.space.devices.leave(chunk.device[at])) this.fds.forgetDevice(chunk.device[at])
    chunk.lookups[at] = 0
    this.words[COUNT]--
    if (chunk.generation[at] === MAX_GENERATION) return
    chunk.generation[at]++
    this.retire(slot)
  }

  private giveSlot(slot: number): void {
    this.lock()
    this.chunkOf(slot).nextFree[slot & CHUNK_MASK] = this.words[FREE_SLOT]
    this.words[FREE_SLOT] = slot
    this.unlock()
  }

  /** Takes an inode out of the index, because the host has reused its number. Only its node id finds it from now on. */
  private disown(slot: number): void {
    this.index.remove(slot)
    this.chunkOf(slot).type[slot & CHUNK_MASK] |= NOT_INDEXED
  }

  private takeSlot(): number {
    const slot = this.words[FREE_SLOT]
    if (slot !== 0) {
      this.words[FREE_SLOT] = this.chunkOf(slot).nextFree[slot & CHUNK_MASK]
      return slot
    }
    const fresh = this.slotsEnd
    this.reserve(fresh)
    return fresh
  }

  /** The chunk of a slot that is or was in use. */
  private chunkOf(slot: number): Chunk {
    return this.chunks.known(slot)
  }

  /** Returns our own number for a device, as one mount shows it. */
  deviceFor(st: StatxWords): number {
    return this.space.devices.numberOf(st)
  }
}
