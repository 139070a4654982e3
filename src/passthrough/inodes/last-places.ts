import { ESTALE, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { MemoryAccount } from '../memory-account.js'
import { STATX_MASK } from './statx.js'

const { O_NOFOLLOW, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, STATX_BTIME } = native.constants

const MASK = STATX_MASK | STATX_BTIME

/** Approximate memory of a remembered place in addition to its name. */
const BYTES_EACH = 512

/** Where an inode was, and what tells it from others that are there later. */
export interface Place {
  /** The name below the root, NUL-terminated. */
  readonly name: Uint8Array
  /** See `identityOf`. */
  readonly identity: readonly number[]
}

/**
 * The places of inodes at the time their descriptors were closed. An inode with a dead handle is looked for at its last
 * place, on file systems whose handles may not last.
 */
export class LastPlaces {
  private readonly bySlot = new Map<number, Place>()
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(
    private readonly rootFd: number,
    /** Returns the name below the root of the file of a descriptor. */
    private readonly nameOf: (fd: number) => Uint8Array | undefined,
    /** Returns true if the name by which the file of a descriptor was found has gone. */
    readonly hasLostName: (fd: number) => boolean,
    private readonly memory: MemoryAccount,
  ) {}

  /**
   * Remembers the place of the file of `fd`, if it has one now and there is memory for it. Returns false if the file has lost
   * its name: it may never be found again.
   */
  remember(slot: number, fd: number): boolean {
    const name = this.nameOf(fd)
    const { st } = this
    if (native.fstatx(fd, MASK, st) < 0) return false
    // The host may have opened the file by its handle without looking for its name. It is still where it was, then.
    if (name === undefined) return Statx.nlink(st) > 0 && !this.hasLostName(fd)
    this.adopt(slot, { name, identity: identityOf(st) })
    return true
  }

  /** Takes over what another process has remembered, if there is memory for it. */
  adopt(slot: number, place: Place): void {
    this.forget(slot)
    if (!this.memory.hasRoom('places', BYTES_EACH)) return
    this.bySlot.set(slot, place)
    this.memory.add('places', BYTES_EACH)
  }

  /** All places, by slot. */
  entries(): Iterable<[slot: number, place: Place]> {
    return this.bySlot.entries()
  }

  /** Opens the inode at its last place with O_PATH. Returns -ESTALE if another file or none is there. */
  open(slot: number): number {
    const place = this.bySlot.get(slot)
    if (place === undefined) return -ESTALE
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    const fd = native.openat2(this.rootFd, place.name, 0, O_PATH | O_NOFOLLOW, 0, resolve)
    if (fd < 0) return -ESTALE
    const { st } = this
    const isSame = (word: number, n: number) => word === place.identity[n]
    if (native.fstatx(fd, MASK, st) === 0 && identityOf(st).every(isSame)) return fd
    native.close(fd)
    return -ESTALE
  }

  has(slot: number): boolean {
    return this.bySlot.has(slot)
  }

  forget(slot: number): void {
    if (this.bySlot.delete(slot)) this.memory.add('places', -BYTES_EACH)
  }

  clear(): void {
    for (const slot of [...this.bySlot.keys()]) this.forget(slot)
  }
}

/** What stays the same while an inode exists: its number, device, type and, if the host has it, time of birth. */
function identityOf(st: Int32Array): number[] {
  const [low, high, nanoseconds] = [st[Statx.BTIME], st[Statx.BTIME + 1], st[Statx.BTIME + 2]]
  const { INO, DEV_MAJOR, DEV_MINOR } = Statx
  return [st[INO], st[INO + 1], st[DEV_MAJOR], st[DEV_MINOR], Statx.mode(st) >>> 12, low, high, nanoseconds]
}
