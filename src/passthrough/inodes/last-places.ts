import { ESTALE, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { MemoryAccount } from '../memory-account.js'
import { STATX_MASK, statxIsSame } from './statx.js'

const { O_NOFOLLOW, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, STATX_BTIME } = native.constants

/** Seconds and nanoseconds. */
const BIRTH_WORDS = [Statx.BTIME, Statx.BTIME + 1, Statx.BTIME + 2]

/** What is remembered of a place beside its name. */
const BYTES_EACH = 512

interface Place {
  /** Below the root, NUL-terminated. */
  readonly name: Uint8Array
  readonly st: Int32Array
}

/**
 * Where inodes were when their descriptors were closed. For file systems of which nobody knows if their handles last: an
 * inode whose handle is dead is looked for where it was.
 */
export class LastPlaces {
  private readonly bySlot = new Map<number, Place>()
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(
    private readonly rootFd: number,
    /** Where a descriptor leads to, as a name below the root. */
    private readonly nameOf: (fd: number) => Uint8Array | undefined,
    private readonly memory: MemoryAccount,
  ) {}

  /** Remembers where `fd` leads to. Without a name, or without memory, there is nothing to remember. */
  remember(slot: number, fd: number): void {
    if (this.bySlot.has(slot) || !this.memory.hasRoom('places', BYTES_EACH)) return
    const name = this.nameOf(fd)
    const st = new Int32Array(Statx.WORDS)
    if (name === undefined || native.fstatx(fd, STATX_MASK | STATX_BTIME, st) < 0) return
    this.bySlot.set(slot, { name, st })
    this.memory.add('places', BYTES_EACH)
  }

  /** Opens the inode where it was: an O_PATH descriptor. -ESTALE when something else is there now, or nothing. */
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

/** The inode number may have been given to another file: the time of birth tells generations apart, where the host has it. */
function isSameInode(a: Int32Array, b: Int32Array): boolean {
  return (
    statxIsSame(a, b) &&
    Statx.mode(a) >>> 12 === Statx.mode(b) >>> 12 &&
    BIRTH_WORDS.every((word) => a[word] === b[word])
  )
}
