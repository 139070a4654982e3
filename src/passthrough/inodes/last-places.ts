import { ESTALE, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { MemoryAccount } from '../memory-account.js'
import { STATX_MASK, statxIsSame } from './statx.js'

const { O_NOFOLLOW, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, STATX_BTIME } = native.constants

/** Seconds and nanoseconds. */
const BIRTH_WORDS = [Statx.BTIME, Statx.BTIME + 1, Statx.BTIME + 2]

/** Approximate memory of a remembered place in addition to its name. */
const BYTES_EACH = 512

interface Place {
  /** The name below the root, NUL-terminated. */
  readonly name: Uint8Array
  readonly st: Int32Array
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
    const st = new Int32Array(Statx.WORDS)
    if (native.fstatx(fd, STATX_MASK | STATX_BTIME, st) < 0) return false
    // The host may have opened the file by its handle without looking for its name. It is still where it was, then.
    if (name === undefined) return Statx.nlink(st) > 0 && !this.hasLostName(fd)
    this.forget(slot)
    if (!this.memory.hasRoom('places', BYTES_EACH)) return true
    this.bySlot.set(slot, { name, st })
    this.memory.add('places', BYTES_EACH)
    return true
  }

  /** Opens the inode at its last place with O_PATH. Returns -ESTALE if another file or none is there. */
  open(slot: number): number {
    const place = this.bySlot.get(slot)
    if (place === undefined) return -ESTALE
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    const fd = native.openat2(this.rootFd, place.name, 0, O_PATH | O_NOFOLLOW, 0, resolve)
    if (fd < 0) return -ESTALE
    const { st } = this
    if (native.fstatx(fd, STATX_MASK | STATX_BTIME, st) === 0 && isSameInode(place.st, st)) return fd
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

/** Returns true if two inodes with one number are the same. Compares the birth time, if the host has it. */
function isSameInode(a: Int32Array, b: Int32Array): boolean {
  return (
    statxIsSame(a, b) &&
    Statx.mode(a) >>> 12 === Statx.mode(b) >>> 12 &&
    BIRTH_WORDS.every((word) => a[word] === b[word])
  )
}
