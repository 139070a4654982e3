import {
  type DeferredReply,
  EAGAIN,
  ECANCELED,
  EINTR,
  EIO,
  EOPNOTSUPP,
  WriteOut,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { HostFileSystem } from '../inodes/host-file-system.js'
import type { HeldFd } from './held-fd.js'

/** Copies are done in pieces of this size, so that a stop need not wait for the whole copy. */
const COPY_PIECE_BYTES = 8 * 1024 * 1024

/** The meaning of a task's result for its request. */
export type TaskKind = 'read' | 'write' | 'copy' | 'empty'

/** The errno for a call that was given up. After a given-up copy, Linux reads and writes the data itself. */
const GIVEN_UP: Readonly<Record<TaskKind, number>> = {
  read: -EIO,
  write: -EIO,
  copy: -EOPNOTSUPP,
  empty: -EINTR,
}

/** One system call under way for one request. Objects are reused. */
export class Task {
  kind: TaskKind = 'empty'
  reply!: DeferredReply
  file!: HeldFd
  /** For a transfer: the descriptor of `file` that it uses. */
  fd = -1
  /** The second file of a copy. */
  otherFile: HeldFd | undefined
  /** For a transfer: its file offset, its offset in the request or reply, the bytes left and the bytes done. */
  offsetBytes = 0
  skipBytes = 0
  leftBytes = 0
  doneBytes = 0
  /** For a transfer: its RWF_* flags. */
  flags = 0
  /** A read that another thread copies from the page cache. What is not there is read by the engine. */
  isCached = false
  /** For such a read: the file system of its file, which may turn out to know no RWF_NOWAIT. */
  host: HostFileSystem | undefined
  /** For a transfer: an error is the result even after a part was done. */
  isWhole = false
  /** For a copy: its offset in the second file. */
  outOffsetBytes = 0
  /** Start time of a buffered write (0 for other tasks), and the bytes all buffered writes had written by then. */
  startMs = 0
  writtenBefore = 0
  /** The most that it may add to its file, for a quota; -1: not counted. */
  growthBytes = -1

  constructor(readonly token: number) {}

  /** True unless it only waits for the disk. */
  get needsProcessor(): boolean {
    return this.kind !== 'read' || this.isCached
  }

  /** Starts the rest of a transfer. Returns 0 or a negative errno. */
  startTransfer(): number {
    const { token, skipBytes, leftBytes, offsetBytes, flags, fd } = this
    if (this.kind === 'copy') return this.startPiece()
    const { carrier } = this.reply
    return this.kind === 'read'
      ? carrier.startReadFromFile(token, skipBytes, leftBytes, fd, offsetBytes, flags, this.isCached)
      : carrier.startWriteToFile(token, skipBytes, leftBytes, fd, offsetBytes, flags)
  }

  private startPiece(): number {
    const { token, file, otherFile, offsetBytes, outOffsetBytes } = this
    if (otherFile === undefined) throw new Error('a copy has two files')
    const lenBytes = Math.min(this.leftBytes, COPY_PIECE_BYTES)
    return native.asyncCopyRange(token, file.fd, offsetBytes, otherFile.fd, outOffsetBytes, lenBytes)
  }

  advance(bytes: number): void {
    this.offsetBytes += bytes
    this.outOffsetBytes += bytes
    this.skipBytes += bytes
    this.leftBytes -= bytes
    this.doneBytes += bytes
  }

  /** Returns true if a cached read goes on as one that waits for the disk. */
  becomesUncached(result: number): boolean {
    if (!this.isCached || this.leftBytes === 0) return false
    if (result <= 0 && !(this.flags !== 0 && (result === -EAGAIN || result === -EOPNOTSUPP))) return false
    if (result === -EOPNOTSUPP && this.host !== undefined) this.host.nowaitReads = false
    this.isCached = false
    this.flags = 0
    return true
  }

  /** Sends the reply. */
  answer(result: number): void {
    const { reply, kind, doneBytes } = this
    if (result === -ECANCELED && doneBytes === 0) {
      reply.fail(GIVEN_UP[kind])
    } else if (result < 0 && (doneBytes === 0 || this.isWhole)) {
      reply.fail(result)
    } else if (kind === 'empty') {
      reply.succeed(0)
    } else if (kind === 'read') {
      reply.succeedInPlace(doneBytes)
    } else {
      WriteOut.write(reply.reply, 0, doneBytes)
      reply.succeed(WriteOut.BYTES)
    }
  }

  releaseFiles(): void {
    this.file.release()
    this.otherFile?.release()
    this.otherFile = undefined
  }
}
