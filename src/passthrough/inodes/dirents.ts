import * as native from 'virtiofsd-ts-native'

const BUFFER_BYTES = 64 * 1024
/** struct linux_dirent64: ino, off, reclen, type, name. */
const D_OFF = 8
const D_RECLEN = 16
const D_TYPE = 18
const D_NAME = 19
const DOT = 0x2e

/** Records of directories, as getdents64(2) gives them. One object serves all directories of a thread. */
export class Dirents {
  /** Eight bytes more than a read fills. */
  readonly bytes = new Uint8Array(BUFFER_BYTES + 8)
  protected readonly view = new DataView(this.bytes.buffer)
  /** Bytes of records. */
  protected end = 0
  /** Offset of the current record. */
  at = 0

  /** Reads up to `mostBytes` of records. Returns how many there are; 0 at the end of the directory, or a negative errno. */
  protected read(fd: number, mostBytes: number): number {
    const got = native.getdents64(fd, this.bytes.subarray(0, Math.min(BUFFER_BYTES, mostBytes)))
    if (got <= 0) return got
    this.at = 0
    this.end = got
    return got
  }

  protected step(): void {
    this.at += this.view.getUint16(this.at + D_RECLEN, true)
  }

  get inoLow(): number {
    return this.view.getUint32(this.at, true)
  }
  get inoHigh(): number {
    return this.view.getUint32(this.at + 4, true)
  }
  /** The opaque position after this record, in 32-bit halves. */
  get offLow(): number {
    return this.view.getUint32(this.at + D_OFF, true)
  }
  get offHigh(): number {
    return this.view.getUint32(this.at + D_OFF + 4, true)
  }
  get type(): number {
    return this.bytes[this.at + D_TYPE]
  }
  /** Offset of the NUL-terminated name in `bytes`. */
  get nameAt(): number {
    return this.at + D_NAME
  }
  get nameBytes(): number {
    return this.bytes.indexOf(0, this.at + D_NAME) - this.at - D_NAME
  }
  /** True if the name is "." or "..". */
  get isDots(): boolean {
    const { bytes, nameAt } = this
    if (bytes[nameAt] !== DOT) return false
    return bytes[nameAt + 1] === 0 || (bytes[nameAt + 1] === DOT && bytes[nameAt + 2] === 0)
  }
}

/** The names of one directory after the other, without "." and "..". */
export class DirectoryNames extends Dirents {
  /** Goes to the first name of the directory of `fd`. Returns 1, 0 if it has none, or a negative errno. */
  first(fd: number): number {
    this.end = 0
    this.at = 0
    return this.find(fd)
  }

  /** Goes to the next name. Returns 1, 0 at the end, or a negative errno. */
  next(fd: number): number {
    this.step()
    return this.find(fd)
  }

  private find(fd: number): number {
    for (;;) {
      for (; this.at < this.end; this.step()) if (!this.isDots) return 1
      const got = this.read(fd, BUFFER_BYTES)
      if (got <= 0) return got
    }
  }
}
