import { EAGAIN, EBADF } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { OpenFile } from '../files/open-file.js'
import {
  type ByteRange,
  isSameOwner,
  NO_END,
  type OwnedRange,
  OwnedRanges,
  type Owner,
} from './owned-ranges.js'

const { F_RDLCK, F_UNLCK, F_WRLCK, O_ACCMODE, O_RDONLY, O_RDWR, O_WRONLY } = native.constants

/** A record lock of somebody outside of this guest. */
export type LockOnHost = ByteRange & { readonly type: number }

/** The lock that keeps `wanted` from being taken through `fd`; undefined: there is none, or the host does not say. */
export function lockOnHost(fd: number, wanted: OwnedRange): LockOnHost | undefined {
  const found = new Float64Array(4)
  if (native.getRangeLock(fd, wanted.type, wanted.startByte, lengthOf(wanted), found) !== 1) return undefined
  const [type, startByte, lenBytes] = found
  return { type, startByte, lastByte: lenBytes === 0 ? NO_END : startByte + lenBytes - 1 }
}

/**
 * The record locks of the guest on one file, and the same locks on the host.
 *
 * Owners in the guest are told apart here. On the host all of them together are one owner: the description of a handle
 * that the guest has, or had, open. That one may lock whatever the guest may, also where the file's mode would not let
 * this process open it again.
 */
export class FileLocks {
  readonly ranges = new OwnedRanges()
  /** The handles whose descriptions carry read locks and write locks: one for both, where it was opened for both. */
  private reader: OpenFile | undefined
  private writer: OpenFile | undefined

  /** Takes a lock, or says why not: EAGAIN (somebody has it), EBADF (the handle is not open for it), ENOLCK. */
  take(wanted: OwnedRange): number {
    if (this.ranges.inWayOf(wanted) !== undefined) return -EAGAIN
    const carrier = this.carrierFor(wanted.file, wanted.type)
    if (typeof carrier === 'number') return carrier
    const other = wanted.type === F_WRLCK ? this.reader : this.writer
    // Nobody else in the guest holds locks of the other kind here: what is there is the owner's own, to be converted.
    if (other !== undefined && other !== carrier) setOnHost(other, F_UNLCK, wanted)
    const result = setOnHost(carrier, wanted.type, wanted)
    if (result < 0) {
      if (other !== undefined && other !== carrier) this.restore(other, wanted)
      this.releaseUnused()
      return result
    }
    this.ranges.set(wanted)
    return 0
  }

  /** Gives up what an owner holds of these bytes. True if that was anything. */
  giveUp(owner: Owner, bytes: ByteRange): boolean {
    return this.unlock(this.ranges.cut(owner, bytes))
  }

  /** Gives up the locks that `belongs` says yes to. True if there were any. */
  giveUpThose(belongs: (range: OwnedRange) => boolean): boolean {
    return this.unlock(this.ranges.remove(belongs))
  }

  /**
   * The lock of the host's processes or other guests that keeps `wanted` from being taken; undefined: there is none. Asked
   * through the description that carries this guest's own locks: these are not in their own way.
   */
  inWayOnHost(wanted: OwnedRange): LockOnHost | undefined {
    return lockOnHost((this.writer ?? this.reader ?? wanted.file).fd, wanted)
  }

  private unlock(gone: readonly ByteRange[]): boolean {
    if (gone.length === 0) return false
    // All between the first and the last byte: where nothing is held there is nothing to unlock, in one call.
    const startByte = gone.reduce((least, part) => Math.min(least, part.startByte), NO_END)
    const lastByte = gone.reduce((most, part) => Math.max(most, part.lastByte), 0)
    for (const part of this.ranges.free({ startByte, lastByte })) {
      if (this.reader !== undefined) setOnHost(this.reader, F_UNLCK, part)
      if (this.writer !== undefined && this.writer !== this.reader) setOnHost(this.writer, F_UNLCK, part)
    }
    this.releaseUnused()
    return true
  }

  /** The handle whose description carries locks of a type; `file` becomes it where there is none yet. */
  private carrierFor(file: OpenFile, type: number): OpenFile | number {
    const known = type === F_WRLCK ? this.writer : this.reader
    if (known !== undefined) return known
    const access = native.statusFlags(file.fd) & O_ACCMODE
    if (access === (type === F_WRLCK ? O_RDONLY : O_WRONLY)) return -EBADF
    if (access === O_RDWR && this.reader !== undefined) this.moveReadLocks(file)
    if (access !== O_WRONLY && this.reader === undefined) this.reader = held(file)
    if (access !== O_RDONLY && this.writer === undefined) this.writer = held(file)
    return file
  }

  /** Read locks are taken through `file` before they are given up where they were: nobody gets in between. */
  private moveReadLocks(file: OpenFile): void {
    for (const range of this.ranges.all()) {
      if (range.type === F_RDLCK && setOnHost(file, F_RDLCK, range) < 0) return
    }
    // The handle may stay open for longer.
    if (this.reader !== undefined) setOnHost(this.reader, F_UNLCK, { startByte: 0, lastByte: NO_END })
    this.reader?.release()
    this.reader = undefined
  }

  /** Puts back the owner's locks of the other kind: a conversion has failed. */
  private restore(other: OpenFile, wanted: OwnedRange): void {
    const { type, startByte, lastByte } = wanted
    for (const range of this.ranges.all()) {
      if (!isSameOwner(range, wanted) || range.type === type) continue
      const part = {
        startByte: Math.max(range.startByte, startByte),
        lastByte: Math.min(range.lastByte, lastByte),
      }
      if (part.startByte <= part.lastByte) setOnHost(other, range.type, part)
    }
  }

  /** Without locks no description is needed. */
  private releaseUnused(): void {
    if (this.ranges.count > 0) return
    this.reader?.release()
    this.writer?.release()
    this.reader = undefined
    this.writer = undefined
  }
}

function held(file: OpenFile): OpenFile {
  file.hold()
  return file
}

function setOnHost(file: OpenFile, type: number, bytes: ByteRange): number {
  return native.setRangeLock(file.fd, type, bytes.startByte, lengthOf(bytes))
}

/** 0 for a range without end, as fcntl(2) has it. */
function lengthOf({ startByte, lastByte }: ByteRange): number {
  return lastByte === NO_END ? 0 : lastByte - startByte + 1
}
