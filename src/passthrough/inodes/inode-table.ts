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
import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS } from './slot-chunks.js'
import { STATX_MASK, statxDevMajor, statxDevMinor, statxMountId } from './statx.js'

/** The identities of 16,384 inodes, 33 bytes each. Chunks are never copied or moved. */
class Chunk {
  /** For a free slot: the next free slot. */
  readonly nextFree = new Int32Array(CHUNK_SLOTS)
  readonly inoLow = new Int32Array(CHUNK_SLOTS)
  readonly inoHigh = new Int32Array(CHUNK_SLOTS)
  readonly device = new Int32Array(CHUNK_SLOTS)
  readonly generation = new Int32Array(CHUNK_SLOTS)
  /** Lookups that the guest has not forgotten. Exceeds 2^32 after a week of READDIRPLUS without caching, so no u32. */
  readonly lookups = new Float64Array(CHUNK_SLOTS)
  /** The file type (S_IFMT bits of the mode, shifted down) and NOT_INDEXED. */
  readonly type = new Uint8Array(CHUNK_SLOTS)
}

/** Most forgotten inodes kept for the guest: about 120 MB. */
const MAX_GIVEN_BACK = 1 << 20

/** The host has given the inode's number to another file. */
const NOT_INDEXED = 0x80

/** File types as returned by `typeOf`: S_IFMT bits >> 12. */
export const TYPE_DIRECTORY = 0o04
export const TYPE_REGULAR = 0o10
export const TYPE_SYMLINK = 0o12

/** The number of the shared directory's device: it is known before others. */
const FIRST_DEVICE = 1

/**
 * The inodes that the guest knows, by slot: their identities on the host, their lookup counts and their descriptors.
 *
 * Slot 0 is no inode. Slot FUSE_ROOT_ID is the shared directory and stays for the whole session.
 */
export class InodeTable {
  /** Without one where a state from elsewhere has no slots: a single high slot takes the memory of one chunk. */
  private readonly chunks: (Chunk | undefined)[] = []
  private readonly index = new InodeIndex(this)
  private readonly devices = new Map<string, number>()
  private nextDevice = FIRST_DEVICE
  /** Number of inodes on each device. */
  private readonly onDevice = new Map<number, number>()
  private lastDevice = { major: -1, minor: -1, mountId: -1, device: 0 }
  private freeSlot = 0
  private nextSlot = FUSE_ROOT_ID
  readonly versions = new ReportedVersions()
  readonly dirty = new DirtyFiles()
  private readonly givenBack = new GivenBackInodes()
  /** Keep forgotten inodes that can be reopened: the guest may ask for them by node id. */
  private keepsGivenBack = false
  /** Number of known inodes, including the root and the forgotten ones that are kept. */
  count = 0

  /** Called before an inode is forgotten. */
  onRelease: ((slot: number) => void) | undefined

  constructor(readonly fds: InodeFds) {
    fds.isAsTold = (slot, st) => this.isAsTold(slot, st)
  }

  begin({ flags }: InitAgreement): void {
    this.keepsGivenBack = has(flags, InitFlag.EXPORT_SUPPORT)
    this.dirty.writesBack = has(flags, InitFlag.WRITEBACK_CACHE)
  }

  /** The slot of a node id, or 0 if the guest invented or has forgotten it. */
  slotOf(nodeid: number): number {
    const slot = slotOfId(nodeid)
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    if (chunk === undefined) return 0
    const at = slot & CHUNK_MASK
    return chunk.lookups[at] > 0 && chunk.generation[at] === generationOfId(nodeid) ? slot : 0
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

  /** The numbers of the device of `st`, one for each mount by which the guest knows its inodes. */
  devicesOf(st: StatxWords): number[] {
    const prefix = `${statxDevMajor(st)}:${statxDevMinor(st)}:`
    return [...this.devices].flatMap(([key, device]) => (key.startsWith(prefix) ? [device] : []))
  }

  /** The same as `find`, by one of the numbers that `devicesOf` returns. */
  findOn(device: number, st: StatxWords, parentFd: number, name: Uint8Array, nameAt: number): number {
    const slot = this.index.find(device, Statx.inoLow(st), Statx.inoHigh(st))
    if (slot === 0 || this.fds.isFile(slot, parentFd, name, nameAt)) return slot
    if (this.givenBack.has(slot)) this.drop(slot)
    else this.disown(slot)
    return 0
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
    const slot = this.takeSlot()
    this.fill(slot, fd, st)
    this.index.add(slot)
    return slot
  }

  /** Returns true if the guest knows an inode in this slot, which may lie outside the table. */
  isKnown(slot: number): boolean {
    const chunk = this.chunks[slot >>> CHUNK_BITS]
    return chunk !== undefined && chunk.lookups[slot & CHUNK_MASK] > 0
  }

  lookupsOf(slot: number): number {
    return this.chunkOf(slot).lookups[slot & CHUNK_MASK]
  }

  /** The slots of inodes that the guest knows, in order. */
  *known(): Generator<number> {
    for (const slot of this.slots()) if (this.lookupsOf(slot) > 0) yield slot
  }

  private *slots(): Generator<number> {
    for (let slot = FUSE_ROOT_ID; slot < this.nextSlot; slot++) {
      if (this.chunks[slot >>> CHUNK_BITS] !== undefined) yield slot
      else slot |= CHUNK_MASK
    }
  }

  /** The end of the slots in use. */
  get slotsEnd(): number {
    return this.nextSlot
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
    return this.devices
  }

  /** Takes over the devices of another table, in which the root's is the same. */
  adoptDevices(devices: Iterable<readonly [key: string, device: number]>): void {
    for (const [key, device] of devices) {
      this.devices.set(key, device)
      this.nextDevice = Math.max(this.nextDevice, device + 1)
    }
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
    this.onDevice.set(device, (this.onDevice.get(device) ?? 0) + 1)
    this.count++
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
    this.freeSlot = 0
    for (const { slot, generation } of this.freeSlots()) {
      if (generation === MAX_GENERATION) continue
      this.chunkOf(slot).nextFree[slot & CHUNK_MASK] = this.freeSlot
      this.freeSlot = slot
    }
  }

  private reserve(slot: number): void {
    const n = slot >>> CHUNK_BITS
    while (this.chunks.length <= n) this.chunks.push(undefined)
    this.chunks[n] ??= new Chunk()
    if (slot >= this.nextSlot) this.nextSlot = slot + 1
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
    chunk.lookups[at] = 1
    chunk.type[at] = type
    this.versions.forget(slot)
    this.dirty.forget(slot)
    this.fds.adopt(slot, fd, device, type === TYPE_DIRECTORY, handle)
    this.onDevice.set(device, (this.onDevice.get(device) ?? 0) + 1)
    this.count++
  }

  /** Counts one more lookup by the guest. */
  ref(slot: number): void {
    if (this.chunkOf(slot).lookups[slot & CHUNK_MASK]++ === 0) this.givenBack.remove(slot)
  }

  /** Drops `count` lookups. A count above the current one drops them all. Without lookups the inode is closed, unless kept. */
  unref(slot: number, count: number): void {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if (slot === FUSE_ROOT_ID) return
    if (count < chunk.lookups[at]) chunk.lookups[at] -= count
    else if (this.keepsGivenBack && this.fds.rest(slot)) this.keep(slot)
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
    this.count = 0
    this.index.clear()
    this.givenBack.clear()
    this.fds.clear()
    this.versions.clear()
    this.dirty.clear()
    this.chunks.length = 0
    this.freeSlot = 0
    this.nextSlot = FUSE_ROOT_ID
    this.devices.clear()
    this.nextDevice = FIRST_DEVICE
    this.onDevice.clear()
    this.lastDevice = { major: -1, minor: -1, mountId: -1, device: 0 }
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
    this.leaveDevice(chunk.device[at])
    chunk.lookups[at] = 0
    this.count--
    if (chunk.generation[at] === MAX_GENERATION) return
    chunk.generation[at]++
    chunk.nextFree[at] = this.freeSlot
    this.freeSlot = slot
  }

  private leaveDevice(device: number): void {
    const left = (this.onDevice.get(device) ?? 0) - 1
    this.onDevice.set(device, left)
    if (left > 0) return
    this.onDevice.delete(device)
    this.fds.forgetDevice(device)
    for (const [key, other] of this.devices) if (other === device) this.devices.delete(key)
    this.lastDevice = { major: -1, minor: -1, mountId: -1, device: 0 }
  }

  /** Takes an inode out of the index, because the host has reused its number. Only its node id finds it from now on. */
  private disown(slot: number): void {
    this.index.remove(slot)
    this.chunkOf(slot).type[slot & CHUNK_MASK] |= NOT_INDEXED
  }

  private takeSlot(): number {
    const slot = this.freeSlot
    if (slot !== 0) {
      this.freeSlot = this.chunkOf(slot).nextFree[slot & CHUNK_MASK]
      return slot
    }
    if (this.nextSlot >>> CHUNK_BITS === this.chunks.length) this.chunks.push(new Chunk())
    return this.nextSlot++
  }

  /** The chunk of a slot that is or was in use. */
  private chunkOf(slot: number): Chunk {
    return this.chunks[slot >>> CHUNK_BITS]!
  }

  /** Returns our own number for a device, as one mount shows it. */
  deviceFor(st: StatxWords): number {
    const { lastDevice } = this
    const major = statxDevMajor(st)
    const minor = statxDevMinor(st)
    const mountId = statxMountId(st)
    if (lastDevice.major === major && lastDevice.minor === minor && lastDevice.mountId === mountId) {
      return lastDevice.device
    }
    const key = `${major}:${minor}:${mountId}`
    let device = this.devices.get(key)
    if (device === undefined) {
      device = this.nextDevice++
      this.devices.set(key, device)
    }
    this.lastDevice = { major, minor, mountId, device }
    return device
  }
}
