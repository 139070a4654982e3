import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed, ProtocolError } from '../errors.js'

/** A power of two. Typed arrays of Node 20 end at 4 GiB, and indexes below 2^30 stay small integers. */
const WINDOW_BYTES = 2 ** 30

/**
 * The size unit of every machine's memory. Windows need it: their words must lie at guest addresses that are
 * multiples of 4.
 */
const PAGE_BYTES = 4096

/** Views on one stretch of guest memory, at most 1 GiB. All of it is volatile: read a field once, check the copy. */
export class Window {
  readonly bytes: Uint8Array
  readonly words: Int32Array

  constructor(
    readonly gpa: number,
    buffer: ArrayBuffer,
  ) {
    this.bytes = new Uint8Array(buffer)
    this.words = new Int32Array(buffer, 0, buffer.byteLength >>> 2)
  }
}

/** A region of guest memory, as the front-end announced it. */
export interface HandedRegion {
  readonly gpa: number
  readonly sizeBytes: number
  readonly uva: number
  readonly fileOffsetBytes: number
}

interface Region extends HandedRegion {
  readonly windows: Window[]
  /** A copy of its descriptor, or -1 if it is not kept. */
  readonly fd: number
}

/**
 * The guest's memory: regions of guest-physical addresses (gpa), which the front-end names by its own user addresses
 * (uva). The addon maps each region once; windows give access. Must be destroyed explicitly.
 */
export class GuestMemory {
  /** The addon's number for this memory. */
  readonly id: number
  private readonly regions: Region[] = []
  private last = 0

  /** `keptFds`: the descriptors of so many regions are kept, so that another process can map them. */
  constructor(readonly keptFds = 0) {
    this.id = mustSucceed('memoryCreate', native.memoryCreate())
  }

  get regionCount(): number {
    return this.regions.length
  }

  /** True if the front-end has truncated the file of a region, and this thread has touched what is gone. */
  get isLost(): boolean {
    return native.memoryIsLost(this.id)
  }

  /** The guest address behind the last byte of memory. */
  get endGpa(): number {
    return this.regions.reduce((end, { gpa, sizeBytes }) => Math.max(end, gpa + sizeBytes), 0)
  }

  /**
   * Maps a region. The caller keeps `fd`. Throws ProtocolError BAD_MEMORY if the region is empty, not made of whole
   * pages, overlaps another, reaches past 2^53, or its file is too short.
   */
  add(fd: number, gpa: number, sizeBytes: number, uva: number, fileOffsetBytes: number): void {
    const end = Math.max(gpa, uva, fileOffsetBytes) + sizeBytes
    if (gpa < 0 || sizeBytes <= 0 || uva < 0 || fileOffsetBytes < 0 || !Number.isSafeInteger(end)) {
      throw new ProtocolError(
        'BAD_MEMORY',
        `region of ${sizeBytes} bytes at guest address ${gpa} is out of range`,
      )
    }
    if (gpa % PAGE_BYTES !== 0 || sizeBytes % PAGE_BYTES !== 0) {
      throw new ProtocolError(
        'BAD_MEMORY',
        `region of ${sizeBytes} bytes at guest address ${gpa} is not made of whole pages`,
      )
    }
    if (this.regions.some((other) => uva < other.uva + other.sizeBytes && other.uva < uva + sizeBytes)) {
      throw new ProtocolError('BAD_MEMORY', 'region overlaps another in the front-end’s addresses')
    }
    const result = native.memoryAdd(this.id, fd, gpa, sizeBytes, fileOffsetBytes)
    if (result < 0) throw new ProtocolError('BAD_MEMORY', addFailure(result, gpa, sizeBytes))
    const windows = this.openWindows(gpa, sizeBytes)
    const kept = this.regions.length < this.keptFds ? native.dup(fd) : -1
    this.regions.push({ gpa, sizeBytes, uva, fileOffsetBytes, windows, fd: Math.max(kept, -1) })
  }

  /** Unmaps a region and detaches every view on it. Throws ProtocolError BAD_MEMORY if there is no such region. */
  remove(gpa: number, sizeBytes: number, uva: number): void {
    const n = this.regions.findIndex((r) => r.gpa === gpa && r.sizeBytes === sizeBytes && r.uva === uva)
    if (n < 0)
      throw new ProtocolError('BAD_MEMORY', `no region of ${sizeBytes} bytes at guest address ${gpa}`)
    for (const { fd } of this.regions.splice(n, 1)) if (fd >= 0) native.close(fd)
    this.last = 0
    mustSucceed('memoryRemove', native.memoryRemove(this.id, gpa))
  }

  /** Every region, with the descriptor that is kept of it, or -1. */
  get kept(): readonly (HandedRegion & { readonly fd: number })[] {
    return this.regions.map(({ windows: _, ...region }) => region)
  }

  destroy(): void {
    for (const { fd } of this.regions.splice(0)) if (fd >= 0) native.close(fd)
    native.memoryDestroy(this.id)
  }

  /** Returns the guest address of the front-end's `uva`, or -1 if no single region holds `lenBytes` from there. */
  gpaOfUva(uva: number, lenBytes: number): number {
    for (const { gpa, sizeBytes, uva: start } of this.regions) {
      if (uva >= start && uva + lenBytes <= start + sizeBytes) return gpa + (uva - start)
    }
    return -1
  }

  /** Returns true if all of [gpa, gpa + lenBytes) is guest memory. The range may cross adjoining regions. */
  contains(gpa: number, lenBytes: number): boolean {
    const end = gpa + lenBytes
    for (let at = gpa; at < end; ) {
      const region = this.find(at)
      if (region === undefined) return false
      at = region.gpa + region.sizeBytes
    }
    return true
  }

  /** Returns how many bytes from `gpa` on are guest memory, at most `lenBytes`. */
  reachableBytes(gpa: number, lenBytes: number): number {
    const end = gpa + lenBytes
    let at = gpa
    for (let region = this.find(at); region !== undefined && at < end; region = this.find(at))
      at = region.gpa + region.sizeBytes
    return Math.min(at, end) - gpa
  }

  /**
   * Returns the window that holds all of [gpa, gpa + lenBytes). Undefined if the range lies outside guest memory or
   * crosses two windows or regions; `copyOut` and `copyIn` still work across them.
   */
  window(gpa: number, lenBytes: number): Window | undefined {
    const region = this.find(gpa)
    if (region === undefined) return undefined
    const window = region.windows[Math.floor((gpa - region.gpa) / WINDOW_BYTES)]
    return gpa - window.gpa + lenBytes <= window.bytes.length ? window : undefined
  }

  /** Opens separate views on a ring, detached when its region is removed. Undefined if no single region holds it. */
  openRing(gpa: number, lenBytes: number): ArrayBuffer | undefined {
    const buffer = native.memoryWindow(this.id, gpa, lenBytes)
    return typeof buffer === 'number' ? undefined : buffer
  }

  closeRing(gpa: number, buffer: ArrayBuffer): void {
    native.memoryCloseWindow(this.id, gpa, buffer)
  }

  private find(gpa: number): Region | undefined {
    const { regions } = this
    let region = regions[this.last]
    if (region !== undefined && gpa >= region.gpa && gpa < region.gpa + region.sizeBytes) return region
    for (let n = 0; n < regions.length; n++) {
      region = regions[n]
      if (gpa >= region.gpa && gpa < region.gpa + region.sizeBytes) {
        this.last = n
        return region
      }
    }
    return undefined
  }

  private openWindows(gpa: number, sizeBytes: number): Window[] {
    const windows: Window[] = []
    for (let at = 0; at < sizeBytes; at += WINDOW_BYTES) {
      const buffer = native.memoryWindow(this.id, gpa + at, Math.min(WINDOW_BYTES, sizeBytes - at))
      if (typeof buffer === 'number') mustSucceed('memoryWindow', buffer)
      else windows.push(new Window(gpa + at, buffer))
    }
    return windows
  }
}

function addFailure(result: number, gpa: number, sizeBytes: number): string {
  const what = `region of ${sizeBytes} bytes at guest address ${gpa}`
  switch (-result) {
    case os.errno.EFBIG:
      return `${what}: its file is shorter, or not memory`
    case os.errno.EEXIST:
      return `${what} overlaps another`
    case os.errno.ENOSPC:
      return `${what} is one too many`
    default:
      return `${what} cannot be mapped (errno ${-result})`
  }
}
