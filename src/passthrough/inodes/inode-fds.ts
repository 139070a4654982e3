import { ENFILE, ESTALE, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from './fd-budget.js'
import { FileHandles, LentHandle } from './file-handles.js'
import { HandleLife, type HostFileSystems } from './host-file-system.js'
import type { LastPlaces } from './last-places.js'
import { CHUNK_BITS, CHUNK_MASK, CHUNK_SLOTS } from './slot-chunks.js'
import { STATX_MASK, statxIsDirectory, statxIsNameless } from './statx.js'

const NONE = -1
/** Inodes not in use keep at most one descriptor in this many. */
const INODE_FD_SHARE = 2
/** Most descriptors examined for one to close while there is still room: no request scans a whole table. */
const EASY_STEPS = 64

class Chunk {
  readonly fd = new Int32Array(CHUNK_SLOTS).fill(NONE)
  /** The slot's index in the list of slots with a descriptor. */
  readonly place = new Int32Array(CHUNK_SLOTS)
  readonly device = new Int32Array(CHUNK_SLOTS)
  readonly flags = new Uint8Array(CHUNK_SLOTS)
  /** Open files of the inode. The descriptor stays while there are any, even for a deleted file. */
  readonly pins = new Int32Array(CHUNK_SLOTS)
  /** Allocated when the first of these inodes loses its descriptor: 64 bytes each. */
  handles: Int32Array | undefined
}

/** The descriptor was used since the clock's hand last passed it. */
const RECENT = 1
/** Its file system gave no handle, so the descriptor stays open. */
const NO_HANDLE = 2
/** It was lost in a migration: there is nothing to open. */
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
  private readonly chunks: (Chunk | undefined)[] = []
  /** Slots with a descriptor, unordered: the clock goes around these. */
  private readonly open: number[] = []
  private hand = 0
  /** Number of slots in `open` that must stay open. */
  private staying = 0
  private last = 0
  private lastButOne = 0
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly lent = new LentHandle()
  /** True since an inode without a descriptor was first kept. */
  someRest = false
  /** Returns true if the file with these attributes can be what another device has said of the slot's. */
  isAsTold: (slot: number, st: StatxWords) => boolean = () => true

  constructor(
    private readonly budget: FdBudget,
    private readonly handles: FileHandles | undefined,
    private readonly hosts: HostFileSystems,
    private readonly places: LastPlaces,
    /** Called when there is no room for a descriptor and the guest gets ENFILE. */
    private readonly outOfFds: () => void,
  ) {}

  /** Makes room for one more descriptor and closes another one if necessary. Returns false if there is no room. */
  makeRoom(): boolean {
    if (this.budget.left === 0) this.evictOne(2 * this.open.length)
    else if (this.open.length >= this.budget.limit / INODE_FD_SHARE) this.evictOne(EASY_STEPS)
    const hasRoom = this.budget.left > 0
    if (!hasRoom) this.outOfFds()
    return hasRoom
  }

  /** Takes over `fd` as the descriptor of a slot. With -1 and without a kept handle the slot never gets one. */
  adopt(slot: number, fd: number, device: number, isDirectory: boolean, handle?: Uint8Array): void {
    const n = slot >>> CHUNK_BITS
    while (this.chunks.length <= n) this.chunks.push(undefined)
    this.chunks[n] ??= new Chunk()
    const chunk = this.chunks[n]
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
      chunk.handles ??= new Int32Array(CHUNK_SLOTS * FileHandles.WORDS)
      FileHandles.restore(handle, chunk.handles, at * FileHandles.WORDS)
      this.someRest = true
      chunk.flags[at] = UNSEEN
    } else chunk.flags[at] = LOST
  }

  /** The descriptors by which kept handles are opened, by device. */
  get mounts(): ReadonlyMap<number, number> {
    return this.handles?.mounts ?? new Map()
  }

  /** True if inodes without a descriptor can be opened. */
  get opensHandles(): boolean {
    return this.handles !== undefined
  }

  /** Takes over a descriptor by which kept handles of a device are opened. Returns false if none can be opened here. */
  adoptMount(device: number, fd: number): boolean {
    this.handles?.adopt(device, fd)
    return this.handles !== undefined
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
    const { handles, flags } = this.chunkOf(slot)
    if (handles === undefined || this.isOpen(slot) || (flags[slot & CHUNK_MASK] & LOST) !== 0)
      return undefined
    return FileHandles.bytesOf(handles, (slot & CHUNK_MASK) * FileHandles.WORDS)
  }

  /** Returns the handle of a slot's file, [type, bytes], or undefined if it has none. Valid until the next call. */
  handleOf(slot: number): Uint8Array | undefined {
    const { fd, handles, flags } = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    if (fd[at] >= 0) return FileHandles.of(fd[at])
    if (handles === undefined || (flags[at] & LOST) !== 0) return undefined
    return this.lent.of(handles, at * FileHandles.WORDS)
  }

  /** Returns the descriptor and reopens it if necessary. Errors: ESTALE (file deleted), ENFILE (no room). */
  get(slot: number): number {
    const chunk = this.chunkOf(slot)
    const at = slot & CHUNK_MASK
    const fd = chunk.fd[at]
    chunk.flags[at] |= RECENT
    if (slot !== this.last) {
      this.lastButOne = this.last
      this.last = slot
    }
    return fd >= 0 ? fd : this.reopen(chunk, slot)
  }

  pin(slot: number): void {
    this.chunkOf(slot).pins[slot & CHUNK_MASK]++
  }

  unpin(slot: number): void {
    this.chunkOf(slot).pins[slot & CHUNK_MASK]--
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
    if (this.handles === undefined || chunk.handles === undefined) return false
    if (this.handles.matches(parentFd, name, nameAt, chunk.handles, at * FileHandles.WORDS)) return true
    // A handle that may have died proves nothing. The inode is the same if it can be opened at its last place.
    return this.places.has(slot) && this.get(slot) >= 0
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
    if (chunk.fd[at] === NONE) return
    native.close(chunk.fd[at])
    chunk.fd[at] = NONE
    this.budget.give()
    if ((chunk.flags[at] & NO_HANDLE) !== 0) this.staying--
    chunk.flags[at] &= ~NO_HANDLE
    const { open } = this
    const moved = open.pop()!
    if (moved === slot) return
    open[chunk.place[at]] = moved
    this.chunkOf(moved).place[moved & CHUNK_MASK] = chunk.place[at]
  }

  /** Closes the descriptor of a slot that is no longer in use. */
  forget(slot: number): void {
    this.close(slot)
    this.places.forget(slot)
  }

  /** Forgets a device without known inodes. */
  forgetDevice(device: number): void {
    this.handles?.forget(device)
    this.hosts.forget(device)
  }

  /** Closes every descriptor and forgets everything. Takes little time, whatever is open. */
  clear(): void {
    const { open } = this
    const fds = new Int32Array(open.length)
    for (let n = 0; n < fds.length; n++) fds[n] = this.openFd(open[n])
    native.closeAll(fds)
    this.budget.give(open.length)
    open.length = 0
    this.staying = 0
    this.chunks.length = 0
    this.hand = 0
    this.last = 0
    this.lastButOne = 0
    this.someRest = false
    this.handles?.close()
    this.hosts.clear()
    this.places.clear()
  }

  /** The chunk of a slot that has been adopted. */
  private chunkOf(slot: number): Chunk {
    return this.chunks[slot >>> CHUNK_BITS]!
  }

  private install(chunk: Chunk, slot: number, fd: number): void {
    const at = slot & CHUNK_MASK
    chunk.fd[at] = fd
    chunk.flags[at] |= RECENT
    chunk.place[at] = this.open.push(slot) - 1
    this.budget.take()
  }

  private reopen(chunk: Chunk, slot: number): number {
    if (this.handles === undefined || chunk.handles === undefined) return -ESTALE
    const at = slot & CHUNK_MASK
    if ((chunk.flags[at] & LOST) !== 0) return -ESTALE
    if (!this.makeRoom()) return -ENFILE
    const opened = this.handles.open(chunk.device[at], chunk.handles, at * FileHandles.WORDS)
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
    const { open } = this
    if (this.handles === undefined || this.staying === open.length) return
    for (let n = 0; n < maxSteps && open.length > 0; n++) {
      this.hand = this.hand + 1 < open.length ? this.hand + 1 : 0
      const slot = open[this.hand]
      if (slot === this.last || slot === this.lastButOne) continue
      const chunk = this.chunkOf(slot)
      const at = slot & CHUNK_MASK
      if ((chunk.flags[at] & NO_HANDLE) !== 0 || chunk.pins[at] > 0) continue
      if ((chunk.flags[at] & RECENT) !== 0) {
        chunk.flags[at] &= ~RECENT
      } else if (this.keepHandle(chunk, slot)) {
        this.close(slot)
        return
      } else {
        chunk.flags[at] |= NO_HANDLE
        this.staying++
      }
    }
  }

  private keepHandle(chunk: Chunk, slot: number): boolean {
    if (this.handles === undefined) return false
    const at = slot & CHUNK_MASK
    const { handleLife } = this.hosts.of(chunk.device[at], chunk.fd[at])
    if (handleLife === HandleLife.AsCache) return false
    // The guest may hold a file that it has removed, and no handle would find it again.
    if (handleLife === HandleLife.AsFile && this.isRemoved(chunk.fd[at])) return false
    chunk.handles ??= new Int32Array(CHUNK_SLOTS * FileHandles.WORDS)
    const wordsAt = at * FileHandles.WORDS
    const kept = this.handles.keep(chunk.fd[at], chunk.device[at], chunk.handles, wordsAt)
    const canRest = kept && (handleLife === HandleLife.AsFile || this.places.remember(slot, chunk.fd[at]))
    this.someRest ||= canRest
    return canRest
  }

  /** Returns true if a file has no name. The number of links does not tell it of a removed subvolume of btrfs. */
  private isRemoved(fd: number): boolean {
    return statxIsNameless(fd, this.st) || (statxIsDirectory(this.st) && this.places.hasLostName(fd))
  }
}
