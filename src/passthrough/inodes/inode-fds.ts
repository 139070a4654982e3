import { ENFILE, ESTALE, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from './fd-budget.js'
import { FileHandles, LentHandle } from './file-handles.js'
import { HandleLife, type HostFileSystems } from './host-file-system.js'
import type { LastPlaces } from './last-places.js'
import { CHUNK_MASK, CHUNK_SLOTS, type ChunkArrays, ChunkList } from './slot-chunks.js'
import { STATX_MASK, statxIsDirectory, statxIsNameless } from './statx.js'
import type { TableSpace } from './table-space.js'

const NONE = -1
/** Inodes not in use keep at most one descriptor in this many. */
const INODE_FD_SHARE = 2
/** Most descriptors examined for one to close while there is still room: no request scans a whole table. */
const EASY_STEPS = 64

class Chunk {
  readonly fd: Int32Array
  /** The slot's index in the list of slots with a descriptor. */
  readonly place: Int32Array
  readonly device: Int32Array
  readonly flags: Uint8Array
  /** 1 if the descriptor was used since the clock's hand last passed it. Any thread writes it at any time. */
  readonly recent: Uint8Array
  /** Open files of the inode. The descriptor stays while there are any, even for a deleted file. */
  readonly pins: Int32Array

  constructor(arrays: ChunkArrays) {
    this.fd = arrays.int32(CHUNK_SLOTS)
    this.place = arrays.int32(CHUNK_SLOTS)
    this.device = arrays.int32(CHUNK_SLOTS)
    this.pins = arrays.int32(CHUNK_SLOTS)
    this.flags = arrays.uint8(CHUNK_SLOTS)
    this.recent = arrays.uint8(CHUNK_SLOTS)
  }
}

/** Handles of inodes without a descriptor, 64 bytes each: made when the first of them loses it. */
class HandleChunk {
  readonly words: Int32Array

  constructor(arrays: ChunkArrays) {
    this.words = arrays.int32(CHUNK_SLOTS * FileHandles.WORDS)
  }
}

/** Slots with a descriptor, by their place in the list. */
class OpenChunk {
  readonly slot: Int32Array

  constructor(arrays: ChunkArrays) {
    this.slot = arrays.int32(CHUNK_SLOTS)
  }
}

/** The numbers of the table. */
const OPEN_COUNT = 0
/** The clock's hand. */
const HAND = 1
/** Number of slots with a descriptor that must stay open. */
const STAYING = 2
/** 1 since an inode without a descriptor was first kept. */
const SOME_REST = 3

/** Its file system gave no handle, so the descriptor stays open. */
const NO_HANDLE = 2
/** It was lost in a migration, or the guest has forgotten the inode, or there was none: there is nothing to open. */
const LOST = 4
/** It came with its handle from another device, and has not been opened here. */
const UNSEEN = 8

/**
 * O_PATH descriptors of inodes, by slot. The budget limits the open ones, and half of it those of inodes that are not in use.
 * Beyond that limit, descriptors not used lately are closed, and reopened by file handle on demand. Every inode keeps its
 * descriptor if the host's file system has no handles or this process may not open them.
 *
 * A descriptor returned by `get` stays open until `get` has been called for two other slots.
 */
export class InodeFds {
  private readonly chunks: ChunkList<Chunk>
  private readonly kept: ChunkList<HandleChunk>
  /** Slots with a descriptor, unordered: the clock goes around these. */
  private readonly open: ChunkList<OpenChunk>
  private readonly words: Int32Array
  private last = 0
  private lastButOne = 0
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly lent = new LentHandle()
  /** Returns true if the file with these attributes can be what another device has said of the slot's. */
  isAsTold: (slot: number, st: StatxWords) => boolean = () => true

  constructor(
    private readonly budget: FdBudget,
    private readonly handles: FileHandles | undefined,
    private readonly hosts: HostFileSystems,
    readonly places: LastPlaces,
    /** Called when there is no room for a descriptor and the guest gets ENFILE. */
    private readonly outOfFds: () => void,
    private readonly space: TableSpace,
  ) {
    const fill = (chunk: Chunk) => {
      chunk.fd.fill(NONE)
      chunk.flags.fill(LOST)
    }
    this.chunks = new ChunkList(Chunk, space.chunks('descriptors'), fill)
    this.kept = new ChunkList(HandleChunk, space.chunks('handles'))
    this.open = new ChunkList(OpenChunk, space.chunks('openDescriptors'))
    this.words = space.words('descriptors')
  }

  private get openCount(): number {
    return this.words[OPEN_COUNT]
  }

  /** True since an inode without a descriptor was first kept. */
  get someRest(): boolean {
    return this.words[SOME_REST] !== 0
  }

  /** Makes room for one more descriptor and closes another one if necessary. Returns false if there is no room. */
  makeRoom(): boolean {
    const { budget, space } = this
    const isFull = budget.left === 0
    if (isFull || this.openCount >= budget.limit / INODE_FD_SHARE) {
      space.guard.lock()
      this.evictOne(isFull ? 2 * this.openCount : EASY_STEPS)
      space.guard.unlock()
      if (isFull) space.hasten()
    }
    const hasRoom = budget.left > 0
    if (!hasRoom) this.outOfFds()
    return hasRoom
  }

  /** Takes over `fd` as the descriptor of a slot. With -1 and without a kept handle the slot never gets one. */
  adopt(slot: number, fd: number, device: number, isDirectory: boolean, handle?: Uint8Array): void {
    const chunk = this.chunks.of(slot)
    const at = slot & CHUNK_MASK
    chunk.device[at] = device
    chunk.flags[at] = 0
    if (isDirectory && fd >= 0 && this.handles !== undefined) {
      this.handles.openMount(device, fd)
      this.hosts.of(device, fd)
    }
    chunk.pins[at] = 0
    if (fd >= 0) this.install(chunk, slot, fd)
    else if (handle !== undefined && this.handles !== undefined) {
      FileHandles.restore(handle, this.kept.of(slot).words, at * FileHandles.WORDS)
      this.words[SOME_REST] = 1
      chunk.flags[at] = UNSEEN
    } else chunk.flags[at] = LOST
  }

  /** The descriptors by which kept handles are opened, by device. */
  get mounts(): ReadonlyMap<number, number> {
    return this.handles?.known ?? new Map()
  }

  /** True if inodes without a descriptor can be opened. */
  get opensHandles(): boolean {
    return this.handles !== undefined
  }

  /**
   * Takes over a descriptor by which kept handles of a device are opened; `hasDeadHandles`: one has died before its file.
   * Returns false if none can be opened here.
   */
  adoptMount(device: number, fd: number, hasDeadHandles: boolean): boolean {
    this.handles?.adopt(device, fd)
    if (hasDeadHandles) this.hosts.of(device, fd).handleLife = HandleLife.AsCache
    return this.handles !== undefined
  }

  /** Returns how long the handle of a slot's file lasts. */
  handleLifeOf(slot: number): HandleLife {
    return this.hosts.lifeOn(this.chunkOf(slot).device[slot & CHUNK_MASK])
  }

  /** The devices on which a handle has died before its file. */
  get devicesWithDeadHandles(): number[] {
    return [...this.mounts.keys()].filter((device) => this.hosts.lifeOn(device) === HandleLife.AsCache)
  }

  /**
   * Returns true if an inode of a device needs no descriptor because this handle of its file, type and bytes, opens it at any
   * time. False before a directory of the device is known.
   */
  canRest(device: number, handle: Uint8Array): boolean {
    const { handles, hosts } = this
    return (
      FileHandles.canKeep(handle) &&
      handles?.knows(device) === true &&
      hosts.lifeOn(device) === HandleLife.AsFile
    )
  }

  /** Returns true if the slot has a descriptor now. */
  isOpen(slot: number): boolean {
    return this.chunkOf(slot).fd[slot & CHUNK_MASK] >= 0
  }

  /** Returns the descriptor of a slot that has one. */
  openFd(slot: number): number {
    return this.chunkOf(slot).fd[slot & CHUNK_MASK]
  }

  /** Returns the kept handle of a slot without a descriptor, [type, bytes], or undefined. Valid until the next change. */
  keptHandle(slot: number): Uint8Array | undefined {
    const words = this.kept.at(slot)?.words
    if (
      words === undefined ||
      this.isOpen(slot) ||
      (this.chunkOf(slot).flags[slot & CHUNK_MASK] & LOST) !== 0
    )
      return undefined
    return FileHandles.bytesOf(words, (slot & CHUNK_MASK) * FileHandles.WORDS)
  }

  /** Returns the handle of a slot's file, [type, bytes], or undefined if it has none. Valid until the next call. */
  handleOf(slot: number): Uint8Array | undefined {
    const { fd, flags } = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if (fd[at] >= 0) return FileHandles.of(fd[at])
    const words = this.kept.at(slot)?.words
    if (words === undefined || (flags[at] & LOST) !== 0) return undefined
    return this.lent.of(words, at * FileHandles.WORDS)
  }

  /** Returns the descriptor and reopens it if necessary. Errors: ESTALE (file deleted), ENFILE (no room). */
  get(slot: number): number {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const fd = chunk.fd[at]
    chunk.recent[at] = 1
    if (slot !== this.last) {
      this.lastButOne = this.last
      this.last = slot
    }
    return fd >= 0 ? fd : this.openAgain(chunk, slot)
  }

  /** Takes over `fd` in place of the descriptor of a slot, which has one: it is of the same file, by a name. */
  replace(slot: number, fd: number): void {
    const { guard } = this.space
    guard.lock()
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const before = chunk.fd[at]
    if (before >= 0) {
      this.budget.take()
      chunk.fd[at] = fd
      this.space.close(before, this.budget)
    } else native.close(fd)
    guard.unlock()
  }

  pin(slot: number): void {
    const { guard } = this.space
    guard.lock()
    this.chunkOf(slot).pins[slot & CHUNK_MASK]++
    guard.unlock()
  }

  unpin(slot: number): void {
    const { guard } = this.space
    guard.lock()
    this.chunkOf(slot).pins[slot & CHUNK_MASK]--
    guard.unlock()
  }

  isPinned(slot: number): boolean {
    return this.chunkOf(slot).pins[slot & CHUNK_MASK] > 0
  }

  /**
   * Returns true if a name in a directory (or "" for `parentFd` itself) is the file of this slot. The caller has found that
   * device and inode number agree.
   */
  isFile(slot: number, parentFd: number, name: Uint8Array, nameAt: number): boolean {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    // An open descriptor keeps the host from reusing the inode number.
    if (chunk.fd[at] >= 0) return true
    const words = this.kept.at(slot)?.words
    if (this.handles === undefined || words === undefined) return false
    if (this.handles.matches(parentFd, name, nameAt, words, at * FileHandles.WORDS)) return true
    // The name may have become another file's since the caller looked. While the file exists, its number is no other's.
    return this.get(slot) >= 0
  }

  /** Closes the descriptor of a slot that has no open file and can be reopened. Returns false for other slots. */
  rest(slot: number): boolean {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if (chunk.pins[at] > 0) return false
    if (chunk.fd[at] !== NONE && !this.keepHandle(chunk, slot)) return false
    this.close(slot)
    return true
  }

  /** Closes the descriptor of a slot, if it has one. */
  close(slot: number): void {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const fd = chunk.fd[at]
    if (fd === NONE) return
    chunk.fd[at] = NONE
    this.space.close(fd, this.budget)
    if ((chunk.flags[at] & NO_HANDLE) !== 0) this.words[STAYING]--
    chunk.flags[at] &= ~NO_HANDLE
    const moved = this.openSlot(--this.words[OPEN_COUNT])
    if (moved === slot) return
    const place = chunk.place[at]
    this.open.known(place).slot[place & CHUNK_MASK] = moved
    this.chunkOf(moved).place[moved & CHUNK_MASK] = place
  }

  /** The slot at a place of the list of those with a descriptor. */
  private openSlot(place: number): number {
    return this.open.known(place).slot[place & CHUNK_MASK]
  }

  /** Closes the descriptor of a slot that is no longer in use. */
  forget(slot: number): void {
    this.close(slot)
    this.chunkOf(slot).flags[slot & CHUNK_MASK] = LOST
    this.places.forget(slot)
  }

  /** Forgets a device without known inodes. */
  forgetDevice(device: number): void {
    this.handles?.forget(device)
    this.hosts.forget(device)
  }

  /** Closes every descriptor and forgets everything. Takes little time, whatever is open. */
  clear(): void {
    const fds = new Int32Array(this.openCount)
    for (let n = 0; n < fds.length; n++) fds[n] = this.openFd(this.openSlot(n))
    native.closeAll(fds)
    this.budget.give(fds.length)
    this.words.fill(0)
    this.open.clear()
    this.kept.clear()
    this.chunks.clear()
    this.last = 0
    this.lastButOne = 0
    this.handles?.close()
    this.hosts.clear()
    this.places.clear()
  }

  /** Another thread has cleared the table. */
  lookAgain(): void {
    this.chunks.lookAgain()
    this.kept.lookAgain()
    this.open.lookAgain()
    this.last = 0
    this.lastButOne = 0
  }

  /** The chunk of a slot that has been adopted. */
  private chunkOf(slot: number): Chunk {
    return this.chunks.known(slot)
  }

  private install(chunk: Chunk, slot: number, fd: number): void {
    const at = slot & CHUNK_MASK
    const place = this.words[OPEN_COUNT]++
    this.open.of(place).slot[place & CHUNK_MASK] = slot
    chunk.place[at] = place
    chunk.recent[at] = 1
    this.budget.take()
    chunk.fd[at] = fd
  }

  private openAgain(chunk: Chunk, slot: number): number {
    const { guard } = this.space
    const at = slot & CHUNK_MASK
    if (this.handles === undefined || this.kept.at(slot) === undefined || (chunk.flags[at] & LOST) !== 0)
      return -ESTALE
    // Waits, if need be, while other threads can go on.
    if (!this.makeRoom()) return -ENFILE
    guard.lock()
    // Another thread may have opened it meanwhile, or served the guest's forgetting it.
    const fd = chunk.fd[at]
    const isLost = (chunk.flags[at] & LOST) !== 0
    const result = fd >= 0 ? fd : isLost ? -ESTALE : this.reopen(chunk, slot)
    guard.unlock()
    return result
  }

  private reopen(chunk: Chunk, slot: number): number {
    const words = this.kept.at(slot)?.words
    if (this.handles === undefined || words === undefined) return -ESTALE
    const at = slot & CHUNK_MASK
    const opened = this.handles.open(chunk.device[at], words, at * FileHandles.WORDS)
    const fd = opened === -ESTALE ? this.findAgain(slot, chunk.device[at]) : opened
    if (fd >= 0 && (chunk.flags[at] & UNSEEN) !== 0 && !this.see(chunk, slot, fd)) return -ESTALE
    if (fd >= 0) this.install(chunk, slot, fd)
    return fd
  }

  /** Returns true if a file that is opened for the first time is what was said of it. Closes `fd` otherwise. */
  private see(chunk: Chunk, slot: number, fd: number): boolean {
    const at = slot & CHUNK_MASK
    chunk.flags[at] &= ~UNSEEN
    // No other file system's inodes are taken from a state unseen; a file of some gets another number when it is written.
    if (this.hosts.of(chunk.device[at], fd).handleLife !== HandleLife.AsFile) return true
    if (native.fstatx(fd, STATX_MASK, this.st) === 0 && this.isAsTold(slot, this.st)) return true
    native.close(fd)
    chunk.flags[at] |= LOST
    return false
  }

  /** Handles a dead handle whose file may still exist: if it does, no handle of its file system is trusted any more. */
  private findAgain(slot: number, device: number): number {
    const fd = this.places.open(slot)
    if (fd >= 0) this.hosts.of(device, fd).handleLife = HandleLife.AsCache
    return fd
  }

  /** Closes one descriptor that was not used since the clock's hand last passed it and whose inode has a handle. */
  private evictOne(maxSteps: number): void {
    const { words } = this
    if (this.handles === undefined || words[STAYING] === words[OPEN_COUNT]) return
    for (let n = 0; n < maxSteps && words[OPEN_COUNT] > 0; n++) {
      words[HAND] = words[HAND] + 1 < words[OPEN_COUNT] ? words[HAND] + 1 : 0
      const slot = this.openSlot(words[HAND])
      if (slot === this.last || slot === this.lastButOne) continue
      const chunk = this.chunkOf(slot)
      const at = slot & CHUNK_MASK
      if ((chunk.flags[at] & NO_HANDLE) !== 0 || chunk.pins[at] > 0) continue
      if (chunk.recent[at] !== 0) {
        chunk.recent[at] = 0
      } else if (this.mustBeSeenByAll(chunk, at)) {
      } else if (this.keepHandle(chunk, slot)) {
        this.close(slot)
        return
      } else {
        chunk.flags[at] |= NO_HANDLE
        words[STAYING]++
      }
    }
  }

  /** Returns true for an inode whose place has to be remembered, while other threads do not see what this one remembers. */
  private mustBeSeenByAll(chunk: Chunk, at: number): boolean {
    if (this.hosts.of(chunk.device[at], chunk.fd[at]).handleLife === HandleLife.AsFile) return false
    this.space.needOneThread('a file handle of the host may die before its file')
    return !this.space.isAlone
  }

  private keepHandle(chunk: Chunk, slot: number): boolean {
    if (this.handles === undefined) return false
    const at = slot & CHUNK_MASK
    const { handleLife } = this.hosts.of(chunk.device[at], chunk.fd[at])
    if (handleLife === HandleLife.AsCache) return false
    // The guest may hold a file that it has removed, and no handle would find it again.
    if (handleLife === HandleLife.AsFile && this.isRemoved(chunk.fd[at])) return false
    const wordsAt = at * FileHandles.WORDS
    const kept = this.handles.keep(chunk.fd[at], chunk.device[at], this.kept.of(slot).words, wordsAt)
    const canRest = kept && (handleLife === HandleLife.AsFile || this.places.remember(slot, chunk.fd[at]))
    if (canRest) this.words[SOME_REST] = 1
    return canRest
  }

  /** Returns true if a file has no name. The number of links does not tell it of a removed subvolume of btrfs. */
  private isRemoved(fd: number): boolean {
    return statxIsNameless(fd, this.st) || (statxIsDirectory(this.st) && this.places.hasLostName(fd))
  }
}
