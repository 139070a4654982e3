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

/** A record lock of a process outside this guest. */
export type LockOnHost = ByteRange & { readonly type: number }

/** Returns the lock that prevents locking `bytes` through `fd`. Undefined if there is none or the host does not tell. */
export function lockOnHost(fd: number, bytes: ByteRange, wantedType: number): LockOnHost | undefined {
  const found = new Float64Array(4)
  if (native.getRangeLock(fd, wantedType, bytes.startByte, lengthOf(bytes), found) !== 1) return undefined
  const [type, startByte, lenBytes] = found
  return { type, startByte, lastByte: lenBytes === 0 ? NO_END : startByte + lenBytes - 1 }
}

/**
 * The record locks of the guest on one file, and the same locks on the host.
 *
 * This class tells owners in the guest apart. On the host they all are one owner: the open file description of a handle
 * that the guest has, or had, open. Such a description can take each lock that the guest may take, even if the file's mode
 * would no longer let this process open the file.
 */
export class FileLocks {
  readonly ranges = new OwnedRanges()
  /** The handles whose descriptions carry read and write locks. Both are the same handle if it is open for both. */
  private reader: OpenFile | undefined
  private writer: OpenFile | undefined

  /** Takes a lock. Errors: EAGAIN (held by another), EBADF (the handle is not open for it), ENOLCK. */
  take(wanted: OwnedRange): number {
    if (this.ranges.inWayOf(wanted) !== undefined) return -EAGAIN
    const carrier = this.carrierFor(wanted.file, wanted.type)
    if (typeof carrier === 'number') return carrier
    const other = wanted.type === F_WRLCK ? this.reader : this.writer
    // No other owner in the guest holds locks of the other kind here, so these are the owner's own and are converted.
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

  /**
   * Knows a lock that the guest holds already, on another device. Errors: EBADF (the handle is not open for it). The host
   * may still give it to that other device: see `takeAgain`.
   */
  adopt(held: OwnedRange): number {
    const carrier = this.carrierFor(held.file, held.type)
    if (typeof carrier === 'number') return carrier
    this.ranges.set(held)
    return 0
  }

  get carriers(): { readonly reader: OpenFile | undefined; readonly writer: OpenFile | undefined } {
    return { reader: this.reader, writer: this.writer }
  }

  /** Takes over the files that carry this guest's locks, with one hold of each. */
  adoptCarriers({ reader, writer }: FileLocks['carriers']): void {
    this.reader = reader
    this.writer = writer
  }

  /** Takes every known lock from the host. Returns false if it refused one; those it has already are no loss. */
  takeAgain(): boolean {
    let all = true
    for (const range of this.ranges.all()) {
      const carrier = range.type === F_WRLCK ? this.writer : this.reader
      if (carrier !== undefined && setOnHost(carrier, range.type, range) < 0) all = false
    }
    return all
  }

  /** Drops an owner's locks on these bytes. Returns true if there were any. */
  giveUp(owner: Owner, bytes: ByteRange): boolean {
    return this.unlock(this.ranges.cut(owner, bytes))
  }

  /** Drops the locks for which `belongs` returns true. Returns true if there were any. */
  giveUpThose(belongs: (range: OwnedRange) => boolean): boolean {
    return this.unlock(this.ranges.remove(belongs))
  }

  /**
   * Returns the lock of a host process or another guest that prevents `wanted`, or undefined. Asks through the description
   * that carries this guest's locks, because they do not conflict with themselves. If there are two, each is asked about
   * the bytes on which the other one carries nothing.
   */
  inWayOnHost(wanted: OwnedRange): LockOnHost | undefined {
    const { reader, writer } = this
    if (reader === undefined || writer === undefined || reader === writer)
      return lockOnHost((writer ?? reader ?? wanted.file).fd, wanted, wanted.type)
    return (
      firstLock(reader, this.ranges.free(wanted, F_WRLCK), wanted.type) ??
      firstLock(writer, this.ranges.free(wanted, F_RDLCK), wanted.type)
    )
  }

  private unlock(gone: readonly ByteRange[]): boolean {
    if (gone.length === 0) return false
    // One call unlocks everything from the first to the last byte. Unlocking bytes without locks does no harm.
    const startByte = gone.reduce((least, part) => Math.min(least, part.startByte), NO_END)
    const lastByte = gone.reduce((most, part) => Math.max(most, part.lastByte), 0)
    for (const part of this.ranges.free({ startByte, lastByte })) {
      if (this.reader !== undefined) setOnHost(this.reader, F_UNLCK, part)
      if (this.writer !== undefined && this.writer !== this.reader) setOnHost(this.writer, F_UNLCK, part)
    }
    this.releaseUnused()
    return true
  }

  /** Returns the handle whose description carries locks of a type. `file` becomes that handle if there is none yet. */
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

  /** Takes read locks through `file` before it drops them elsewhere, so that nobody can lock in between. */
  private moveReadLocks(file: OpenFile): void {
    for (const range of this.ranges.all()) {
      if (range.type === F_RDLCK && setOnHost(file, F_RDLCK, range) < 0) return
    }
    // The old handle may stay open.
    if (this.reader !== undefined) setOnHost(this.reader, F_UNLCK, { startByte: 0, lastByte: NO_END })
    this.reader?.release()
    this.reader = undefined
  }

  /** Restores the owner's locks of the other kind after a failed conversion. */
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

  /** Releases descriptions that no longer carry locks. */
  private releaseUnused(): void {
    if (this.ranges.count > 0) return
    this.reader?.release()
    this.writer?.release()
    this.reader = undefined
    this.writer = undefined
  }
}

function firstLock(file: OpenFile, parts: readonly ByteRange[], type: number): LockOnHost | undefined {
  for (const part of parts) {
    const found = lockOnHost(file.fd, part, type)
    if (found !== undefined) return found
  }
  return undefined
}

function held(file: OpenFile): OpenFile {
  file.hold()
  return file
}

function setOnHost(file: OpenFile, type: number, bytes: ByteRange): number {
  return native.setRangeLock(file.fd, type, bytes.startByte, lengthOf(bytes))
}

/** The l_len of a range for fcntl(2): 0 means no end. */
function lengthOf({ startByte, lastByte }: ByteRange): number {
  return lastByte === NO_END ? 0 : lastByte - startByte + 1
}
