import { ESTALE } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

const { AT_EMPTY_PATH, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY } = native.constants

/** name_to_handle_at's answer: mount id, handle type, handle. */
const ANSWER_BYTES = 8 + 128
/** What is kept of it: length, then type and handle. */
const KEPT_WORDS = 16
const KEPT_BYTES = 4 * (KEPT_WORDS - 1)

const emptyName = new Uint8Array(1)

/**
 * File handles: how the host's file system names an inode for good, also when no descriptor keeps it. An inode number is
 * used again after its file is gone; a handle is not, opening it then fails with ESTALE.
 */
export class FileHandles {
  private readonly answer = new Uint8Array(ANSWER_BYTES)
  private readonly answerWords = new Int32Array(this.answer.buffer)
  /** By device: a descriptor of its mount, which open_by_handle_at wants. */
  private readonly mountFds = new Map<number, number>()

  constructor(private readonly procFd: number) {}

  /** Whether this process may open handles at all, tried on a directory. */
  static usable(procFd: number, directoryFd: number): boolean {
    const handles = new FileHandles(procFd)
    const words = new Int32Array(KEPT_WORDS)
    const fd = handles.keep(directoryFd, 0, true, words, 0) ? handles.open(0, words, 0) : -ESTALE
    if (fd >= 0) native.close(fd)
    handles.close()
    return fd >= 0
  }

  static readonly WORDS = KEPT_WORDS

  /** Whether what `fd` stands for has a handle. */
  static exists(fd: number): boolean {
    return native.nameToHandleAt(fd, emptyName, 0, AT_EMPTY_PATH, new Uint8Array(ANSWER_BYTES)) >= 0
  }

  /**
   * Keeps the handle of what `fd` stands for in `words` from `at` on. False when there is none, or none that could be
   * opened again: then `fd` has to stay open. `openable`: it is a directory or regular file, safe to open for use.
   */
  keep(fd: number, device: number, openable: boolean, words: Int32Array, at: number): boolean {
    if (!this.hasMountFd(device, fd, openable)) return false
    const lenBytes = native.nameToHandleAt(fd, emptyName, 0, AT_EMPTY_PATH, this.answer)
    if (lenBytes < 0 || 4 + lenBytes > KEPT_BYTES) return false
    words[at] = 4 + lenBytes
    const rounded = (4 + lenBytes + 3) >> 2
    for (let n = 0; n < rounded; n++) words[at + 1 + n] = this.answerWords[1 + n]
    return true
  }

  /** Opens a handle that was kept, as an O_PATH descriptor. -ESTALE when its file is gone. */
  open(device: number, words: Int32Array, at: number): number {
    const bytes = new Uint8Array(words.buffer, words.byteOffset + 4 * (at + 1), words[at])
    return native.inodeOpenByHandle(this.mountFds.get(device)!, bytes, O_PATH | O_NOFOLLOW)
  }

  /** Whether a name, or "" for `parentFd` itself, stands for the file whose handle was kept. */
  matches(parentFd: number, name: Uint8Array, nameAt: number, words: Int32Array, at: number): boolean {
    const flags = name[nameAt] === 0 ? AT_EMPTY_PATH : 0
    const lenBytes = native.nameToHandleAt(parentFd, name, nameAt, flags, this.answer)
    if (lenBytes < 0 || 4 + lenBytes !== words[at]) return false
    // Bytes behind the handle in its last word are left from earlier answers: compared byte by byte.
    const kept = new Uint8Array(words.buffer, words.byteOffset + 4 * (at + 1), words[at])
    for (let n = 0; n < kept.length; n++) if (kept[n] !== this.answer[4 + n]) return false
    return true
  }

  /** No inode of a device is known any more: its mount is let go, so that the host can unmount it. */
  forget(device: number): void {
    const fd = this.mountFds.get(device)
    if (fd !== undefined) native.close(fd)
    this.mountFds.delete(device)
  }

  close(): void {
    for (const device of [...this.mountFds.keys()]) this.forget(device)
  }

  private hasMountFd(device: number, fd: number, openable: boolean): boolean {
    if (this.mountFds.has(device)) return true
    const mountFd = openable ? native.inodeOpen(this.procFd, fd, O_RDONLY | O_NONBLOCK) : -ESTALE
    if (mountFd >= 0) this.mountFds.set(device, mountFd)
    return mountFd >= 0
  }
}
