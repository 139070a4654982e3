import {
  type Carrier,
  CopyFileRangeIn,
  CreateIn,
  FallocateIn,
  FsyncIn,
  FUSE_GETATTR_FH,
  GetattrIn,
  InHeader,
  LseekIn,
  Opcode,
  OpenIn,
  ReadIn,
  ReleaseIn,
  Rename2In,
  SetattrIn,
  WriteIn,
} from 'virtio-fs-ts/protocol'

/** Bytes to read: the header, the longest fixed arguments, and a name behind them. */
const PEEK_BYTES = 40 + 88 + 256
const NAME_MAX_BYTES = 255

/**
 * Reads a request's subject without disturbing the code that serves it. A thread has one peek, so nothing is
 * allocated.
 */
export class RequestPeek {
  private readonly words = new Int32Array(PEEK_BYTES / 4 + 1)
  private readonly bytes = new Uint8Array(this.words.buffer)
  private readonly view = new DataView(this.words.buffer)
  private readonly decoder = new TextDecoder()
  private lenBytes = 0

  /** Takes a request. Returns false if it is too short. */
  begin(carrier: Carrier): boolean {
    this.lenBytes = Math.min(carrier.readableBytes, PEEK_BYTES)
    return this.lenBytes >= InHeader.BYTES && carrier.readWords(0, this.lenBytes, this.words, this.bytes)
  }

  /** Summarises the request that `begin` took. Missing arguments read as 0. */
  summarise(): RequestSummary {
    const { view } = this
    this.words.fill(0, (this.lenBytes + 3) >> 2)
    const opcode = InHeader.opcode(view)
    const summary: RequestSummary = {
      opcode,
      nodeid: InHeader.nodeid(view),
      uid: InHeader.uid(view),
      pid: InHeader.pid(view),
      unique: InHeader.uniqueLow(view) >>> 0,
      handle: 0,
      offsetBytes: 0,
      sizeBytes: 0,
      flags: 0,
      detailFlags: 0,
      name: undefined,
    }
    readArguments(view, opcode, summary)
    const nameAt = nameOffsets[opcode]
    if (nameAt !== undefined) summary.name = this.nameFrom(InHeader.BYTES + nameAt)
    return summary
  }

  private nameFrom(at: number): string {
    const end = this.bytes.indexOf(0, at)
    const stop = Math.min(end < 0 ? this.lenBytes : end, at + NAME_MAX_BYTES, this.lenBytes)
    return this.decoder.decode(this.bytes.subarray(at, Math.max(at, stop)))
  }
}

/** The subject of a request. */
export interface RequestSummary {
  opcode: number
  nodeid: number
  uid: number
  pid: number
  /** The low 32 bits of the request's number in the session. */
  unique: number
  /** The file handle, or 0 for none. */
  handle: number
  offsetBytes: number
  sizeBytes: number
  /** Open flags of the file. */
  flags: number
  /**
   * Flags of the operation itself: getattr, read, write, release, fsync or rename flags, SETATTR's attributes, fallocate's
   * mode, lseek's whence.
   */
  detailFlags: number
  /** The first name, for operations that take one. */
  name: string | undefined
}

/** Offset of the name behind the header, for operations that take one. */
const nameOffsets: Readonly<Record<number, number>> = {
  [Opcode.LOOKUP]: 0,
  [Opcode.SYMLINK]: 0,
  [Opcode.UNLINK]: 0,
  [Opcode.RMDIR]: 0,
  [Opcode.RENAME]: 8,
  [Opcode.MKDIR]: 8,
  [Opcode.LINK]: 8,
  [Opcode.MKNOD]: 16,
  [Opcode.CREATE]: 16,
  [Opcode.RENAME2]: 16,
}

function readArguments(v: DataView, opcode: number, out: RequestSummary): void {
  const at = InHeader.BYTES
  switch (opcode) {
    case Opcode.READ:
    case Opcode.READDIR:
    case Opcode.READDIRPLUS:
      out.handle = ReadIn.handle(v, at)
      out.offsetBytes = ReadIn.offsetBytes(v, at)
      out.sizeBytes = ReadIn.sizeBytes(v, at)
      out.flags = ReadIn.flags(v, at)
      out.detailFlags = ReadIn.readFlags(v, at)
      break
    case Opcode.WRITE:
      out.handle = WriteIn.handle(v, at)
      out.offsetBytes = WriteIn.offsetBytes(v, at)
      out.sizeBytes = WriteIn.sizeBytes(v, at)
      out.flags = WriteIn.flags(v, at)
      out.detailFlags = WriteIn.writeFlags(v, at)
      break
    case Opcode.OPEN:
    case Opcode.OPENDIR:
      out.flags = OpenIn.flags(v, at)
      out.detailFlags = OpenIn.openFlags(v, at)
      break
    case Opcode.CREATE:
      out.flags = CreateIn.flags(v, at)
      out.detailFlags = CreateIn.openFlags(v, at)
      break
    case Opcode.RELEASE:
    case Opcode.RELEASEDIR:
      out.handle = ReleaseIn.handle(v, at)
      out.flags = ReleaseIn.flags(v, at)
      out.detailFlags = ReleaseIn.releaseFlags(v, at)
      break
    case Opcode.GETATTR:
      out.detailFlags = GetattrIn.flags(v, at)
      if ((out.detailFlags & FUSE_GETATTR_FH) !== 0) out.handle = GetattrIn.handle(v, at)
      break
    case Opcode.FSYNC:
    case Opcode.FSYNCDIR:
      out.handle = FsyncIn.handle(v, at)
      out.detailFlags = FsyncIn.fsyncFlags(v, at)
      break
    case Opcode.SETATTR:
      out.detailFlags = SetattrIn.valid(v, at)
      out.handle = SetattrIn.handle(v, at)
      out.sizeBytes = SetattrIn.sizeBytes(v, at)
      break
    case Opcode.FALLOCATE:
      out.handle = FallocateIn.handle(v, at)
      out.offsetBytes = FallocateIn.offsetBytes(v, at)
      out.sizeBytes = FallocateIn.lenBytes(v, at)
      out.detailFlags = FallocateIn.mode(v, at)
      break
    case Opcode.LSEEK:
      out.handle = LseekIn.handle(v, at)
      out.offsetBytes = LseekIn.offsetBytes(v, at)
      out.detailFlags = LseekIn.whence(v, at)
      break
    case Opcode.RENAME2:
      out.detailFlags = Rename2In.flags(v, at)
      break
    case Opcode.FLUSH:
      out.handle = ReadIn.handle(v, at)
      break
    case Opcode.COPY_FILE_RANGE:
    case Opcode.COPY_FILE_RANGE_64:
      out.handle = CopyFileRangeIn.inHandle(v, at)
      out.offsetBytes = CopyFileRangeIn.inOffsetBytes(v, at)
      out.sizeBytes = CopyFileRangeIn.lenBytes(v, at)
      break
  }
}
