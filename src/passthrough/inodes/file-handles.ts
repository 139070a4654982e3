import { ESTALE } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { LentBytes } from '../../basics/lent-bytes.js'
import type { MountFds } from './device-numbers.js'

const { AT_EMPTY_PATH, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY } = native.constants

/** The result of name_to_handle_at: mount id, handle type, handle. */
const ANSWER_BYTES = 8 + 128
/** The kept part: length, then type and handle. */
const KEPT_WORDS = 16
const KEPT_BYTES = 4 * (KEPT_WORDS - 1)

const emptyName = new Uint8Array(1)

/**
 * File handles: the host file system's permanent names of inodes, valid without an open descriptor. The host reuses inode
 * numbers of deleted files. It does not reuse handles: opening the handle of a deleted file fails with ESTALE.
 */
export class FileHandles {
  private readonly answer = new Uint8Array(ANSWER_BYTES)
  private readonly answerWords = new Int32Array(this.answer.buffer)
  private readonly lent = new LentHandle()

  constructor(
    private readonly procFd: number,
    /** A mount descriptor for open_by_handle_at, by device. */
    private readonly mountFds: MountFds = new Map<number, number>(),
  ) {}

  /** Returns true if this process may open handles. Tries it on a directory. */
  static usable(procFd: number, directoryFd: number): boolean {
    const handles = new FileHandles(procFd)
    const words = new Int32Array(KEPT_WORDS)
    handles.openMount(0, directoryFd)
    const fd = handles.keep(directoryFd, 0, words, 0) ? handles.open(0, words, 0) : -ESTALE
    if (fd >= 0) native.close(fd)
    handles.close()
    return fd >= 0
  }

  static readonly WORDS = KEPT_WORDS

  /** Returns the bytes of a kept handle: type and handle. */
  static bytesOf(words: Int32Array, at: number): Uint8Array {
    return new Uint8Array(words.buffer, words.byteOffset + 4 * (at + 1), words[at])
  }

  /** Puts the bytes of a kept handle into `words` from `at` on. Throws RangeError if they are too many. */
  static restore(handle: Uint8Array, words: Int32Array, at: number): void {
    if (handle.length > KEPT_BYTES) throw new RangeError(`a file handle of ${handle.length} bytes`)
    words[at] = handle.length
    words.fill(0, at + 1, at + KEPT_WORDS)
    // A view of the bytes would take longer to make.
    for (let n = 0; n < handle.length; n++) words[at + 1 + (n >> 2)] |= handle[n] << (8 * (n & 3))
  }

  /** The mount descriptors, by device. */
  get known(): ReadonlyMap<number, number> {
    const known = new Map<number, number>()
    for (const device of this.mountFds.keys()) known.set(device, this.mountFds.get(device)!)
    return known
  }

  /** Takes over a mount descriptor. */
  adopt(device: number, fd: number): void {
    this.forget(device)
    this.mountFds.set(device, fd)
  }

  /** Returns the handle of the file of `fd`, type and bytes, or undefined if it has none. */
  static of(fd: number): Uint8Array | undefined {
    const answer = new Uint8Array(ANSWER_BYTES)
    const lenBytes = native.nameToHandleAt(fd, emptyName, 0, AT_EMPTY_PATH, answer)
    return lenBytes < 0 ? undefined : answer.subarray(4, 8 + lenBytes)
  }

  /**
   * Returns true if a name in a directory has this handle, type and bytes, and sets `mountId`. A link is not followed.
   */
  isAt(directoryFd: number, name: Uint8Array, nameAt: number, handle: Uint8Array): boolean {
    const lenBytes = native.nameToHandleAt(directoryFd, name, nameAt, 0, this.answer)
    if (lenBytes < 0 || 4 + lenBytes !== handle.length) return false
    for (let n = 0; n < handle.length; n++) if (handle[n] !== this.answer[4 + n]) return false
    return true
  }

  /** The mount of the file that was named last, as statx tells it. */
  get mountId(): number {
    return this.answerWords[0]
  }

  /** Returns true if handles of a device can be opened now. */
  knows(device: number): boolean {
    return this.mountFds.has(device)
  }

  /** Returns true if a handle, type and bytes, is short enough for `restore`. */
  static canKeep(handle: Uint8Array): boolean {
    return handle.length <= KEPT_BYTES
  }

  /** Returns true if the file of `fd` has a handle. */
  static exists(fd: number): boolean {
    return FileHandles.of(fd) !== undefined
  }

  /**
   * Opens a device for its handles by one of its directories, unless it is open. A file instead would keep its disk space
   * when it is removed.
   */
  openMount(device: number, directoryFd: number): void {
    if (this.mountFds.has(device)) return
    const fd = native.inodeOpen(this.procFd, directoryFd, O_RDONLY | O_NONBLOCK)
    if (fd >= 0) this.mountFds.set(device, fd)
  }

  /**
   * Keeps the handle of the file of `fd` in `words` from `at` on. Returns false if there is no handle, or none that can be
   * opened again: `fd` must then stay open.
   */
  keep(fd: number, device: number, words: Int32Array, at: number): boolean {
    if (!this.mountFds.has(device)) return false
    const lenBytes = native.nameToHandleAt(fd, emptyName, 0, AT_EMPTY_PATH, this.answer)
    if (lenBytes < 0 || 4 + lenBytes > KEPT_BYTES) return false
    words[at] = 4 + lenBytes
    const rounded = (4 + lenBytes + 3) >> 2
    for (let n = 0; n < rounded; n++) words[at + 1 + n] = this.answerWords[1 + n]
    return true
  }

  /** Opens a kept handle as an O_PATH descriptor. Returns -ESTALE if its file is deleted. */
  open(device: number, words: Int32Array, at: number): number {
    return native.inodeOpenByHandle(this.mountFds.get(device)!, this.lent.of(words, at), O_PATH | O_NOFOLLOW)
  }

  /** Returns true if a name, or "" for `parentFd` itself, has the handle that was kept. */
  matches(parentFd: number, name: Uint8Array, nameAt: number, words: Int32Array, at: number): boolean {
    const flags = name[nameAt] === 0 ? AT_EMPTY_PATH : 0
    const lenBytes = native.nameToHandleAt(parentFd, name, nameAt, flags, this.answer)
    if (lenBytes < 0 || 4 + lenBytes !== words[at]) return false
    // Compares bytes: the last word may end with bytes of earlier results. A view of them would take longer to make.
    for (let n = 0; n < 4 + lenBytes; n++)
      if (((words[at + 1 + (n >> 2)] >>> (8 * (n & 3))) & 0xff) !== this.answer[4 + n]) return false
    return true
  }

  /** Closes the mount of a device without known inodes, so that the host can unmount it. */
  forget(device: number): void {
    const fd = this.mountFds.get(device)
    if (fd !== undefined) native.close(fd)
    this.mountFds.delete(device)
  }

  close(): void {
    for (const device of [...this.mountFds.keys()]) this.forget(device)
  }
}

/** Copies of kept handles, each valid until the next one. */
export class LentHandle {
  private readonly lent = new LentBytes(KEPT_BYTES)
  private readonly words = new Int32Array(this.lent.bytes.buffer)

  of(kept: Int32Array, at: number): Uint8Array {
    const lenBytes = kept[at]
    for (let n = 0; n < (lenBytes + 3) >> 2; n++) this.words[n] = kept[at + 1 + n]
    return this.lent.first(lenBytes)
  }
}
