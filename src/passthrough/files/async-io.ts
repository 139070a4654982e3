import { AsyncEngine } from 'vhost-user-ts'
import {
  type DeferredReply,
  ECANCELED,
  EINTR,
  EIO,
  EOPNOTSUPP,
  OutHeader,
  PENDING_REPLY,
  type Request,
  WriteOut,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { HeldFd } from './held-fd.js'
import type { OpenFile } from './open-file.js'
import { SlowWrites } from './slow-writes.js'

/** Calls on one file with an empty reply. */
const { ASYNC_COPY_RANGE } = native.constants
export const { ASYNC_FALLOCATE, ASYNC_FDATASYNC, ASYNC_FSYNC, ASYNC_SYNCFS } = native.constants

/** Copies are done in pieces of this size, so that a stop need not wait for the whole copy. */
const COPY_PIECE_BYTES = 8 * 1024 * 1024
/** Stopping rings wait this long for a task to begin, then give it up. */
const PATIENCE_MS = 5000
const LOOK_MS = 100
const ALL_KINDS = 255

/** The meaning of a task's result for its request. */
type TaskKind = 'read' | 'write' | 'copy' | 'empty'

/** The errno for a call that was given up. After a given-up copy, Linux reads and writes the data itself. */
const GIVEN_UP: Readonly<Record<TaskKind, number>> = {
  read: -EIO,
  write: -EIO,
  copy: -EOPNOTSUPP,
  empty: -EINTR,
}

/** One system call under way for one request. Objects are reused. */
class Task {
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

  /** Starts the rest of a transfer. Returns 0 or a negative errno. */
  startTransfer(): number {
    const { token, skipBytes, leftBytes, offsetBytes, flags, fd } = this
    if (this.kind === 'copy') return this.startPiece()
    const { carrier } = this.reply
    return this.kind === 'read'
      ? carrier.startReadFromFile(token, skipBytes, leftBytes, fd, offsetBytes, flags)
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

/**
 * System calls that would keep other requests waiting. They start here, run in io_uring or helper threads, and are
 * answered in the order in which their results arrive. The guest waits for replies where order matters.
 *
 * Each call starts with a request that is owed a reply, and returns PENDING_REPLY or a negative errno.
 */
export class AsyncIo {
  /** Throws SystemCallError if this thread cannot have one. */
  readonly engine = new AsyncEngine()
  readonly slowWrites = new SlowWrites()
  /** With a quota: what the next task may add to its file; -1: nothing is counted. */
  growthBytes = -1
  /** With a quota: called when a task that was counted ends, with the file that it changed. */
  onChanged: ((file: HeldFd, growthBytes: number) => void) | undefined
  private readonly tasks: Task[] = []
  private readonly idle: Task[] = []
  private underWay = 0
  /** Tasks under way other than reads. The kernel runs these in its threads; reads only wait for the disk. */
  private working = 0
  /** The rings are stopping: no copy begins another piece. */
  private stopping = false
  /** Bytes written by all buffered writes that left the loop. */
  private writtenBytes = 0

  /** Call it when nothing is under way. */
  close(): void {
    this.engine.close()
  }

  get isWorking(): boolean {
    return this.working > 0
  }

  /** Returns true if no task may begin until another one ends. */
  get isFull(): boolean {
    return this.underWay >= AsyncEngine.MAX_UNDER_WAY
  }

  /** Milliseconds until `progress` has work without an event, or -1 for never. */
  nextDueMs(): number {
    return this.engine.nextDueMs()
  }

  progress(): boolean {
    this.slowWrites.endBatch()
    if (this.underWay === 0) return false
    this.engine.submit()
    return this.engine.reap(this.resume)
  }

  /**
   * Returns when nothing is under way. A running copy ends with the bytes it has. A copy that has not begun is left to the
   * guest. All other tasks get time to begin.
   */
  drain(): void {
    if (this.underWay === 0) return
    const endMs = performance.now() + PATIENCE_MS
    let patient = true
    this.stopping = true
    native.asyncCancel(ASYNC_COPY_RANGE)
    while (this.underWay > 0) {
      this.engine.submit()
      if (patient && performance.now() > endMs) {
        patient = false
        native.asyncCancel(ALL_KINDS)
      }
      if (!this.engine.reap(this.resume)) this.engine.wait(patient ? LOOK_MS : this.nextDueMs())
    }
    this.stopping = false
  }

  /**
   * Reads `lenBytes` through `fd`, a descriptor of the file. The reply already holds the first `doneBytes`. With `isWhole`,
   * an error after some data is the answer in place of the data.
   */
  read(
    request: Request,
    file: OpenFile,
    fd: number,
    offsetBytes: number,
    lenBytes: number,
    doneBytes: number,
    isWhole: boolean,
  ): number {
    const task = this.take(request, file, 'read')
    file.setBlocking()
    task.fd = fd
    task.offsetBytes = offsetBytes
    task.skipBytes = OutHeader.BYTES
    task.leftBytes = lenBytes
    task.flags = 0
    task.isWhole = isWhole
    task.advance(doneBytes)
    return this.begin(task, task.startTransfer())
  }

  /**
   * Writes `lenBytes` through `fd`, a descriptor of the file. They begin at byte `skipBytes` of the request, and the first
   * `doneBytes` are already written. With `isWhole`, a short write is an error.
   */
  write(
    request: Request,
    file: OpenFile,
    fd: number,
    offsetBytes: number,
    lenBytes: number,
    skipBytes: number,
    doneBytes: number,
    flags: number,
    isWhole: boolean,
  ): number {
    const task = this.take(request, file, 'write')
    file.setBlocking()
    task.fd = fd
    task.offsetBytes = offsetBytes
    task.skipBytes = skipBytes
    task.leftBytes = lenBytes
    task.flags = flags
    task.isWhole = isWhole
    task.advance(doneBytes)
    if (fd !== file.directFd) {
      task.startMs = performance.now()
      task.writtenBefore = this.writtenBytes
    }
    return this.begin(task, task.startTransfer())
  }

  /** `flags` is the mode of fallocate, and 0 for other calls. */
  call(
    request: Request,
    file: HeldFd,
    kind: number,
    flags: number,
    offsetBytes: number,
    lenBytes: number,
  ): number {
    const task = this.take(request, file, 'empty')
    return this.begin(task, native.asyncFile(kind, task.token, file.fd, flags, offsetBytes, lenBytes))
  }

  copyRange(
    request: Request,
    from: HeldFd,
    inOffsetBytes: number,
    to: HeldFd,
    outOffsetBytes: number,
    lenBytes: number,
  ): number {
    const task = this.take(request, from, 'copy')
    task.otherFile = to
    to.hold()
    task.offsetBytes = inOffsetBytes
    task.outOffsetBytes = outOffsetBytes
    task.leftBytes = lenBytes
    return this.begin(task, task.startTransfer())
  }

  private take(request: Request, file: HeldFd, kind: TaskKind): Task {
    let task = this.idle.pop()
    if (task === undefined) {
      task = new Task(this.tasks.length)
      this.tasks.push(task)
    }
    task.kind = kind
    task.file = file
    task.reply = request.defer()
    task.doneBytes = 0
    task.isWhole = false
    task.startMs = 0
    task.growthBytes = this.growthBytes
    this.growthBytes = -1
    file.hold()
    return task
  }

  private begin(task: Task, started: number): number {
    this.underWay++
    if (task.kind !== 'read') this.working++
    if (started < 0) this.end(task, started)
    else this.engine.begun()
    return PENDING_REPLY
  }

  /** Continues after a short transfer. Only an empty transfer marks the end of a file. */
  private readonly resume = (token: number, result: number): void => {
    const task = this.tasks[token]
    if (result > 0) task.advance(result)
    const mayGoOn = task.kind !== 'empty' && !(this.stopping && task.kind === 'copy')
    const goesOn = mayGoOn && result > 0 && task.leftBytes > 0
    const started = goesOn ? task.startTransfer() : result
    if (goesOn && started === 0) this.engine.begun()
    // Without this, a write of no bytes would be a short success.
    else this.end(task, task.kind === 'write' && started === 0 && task.leftBytes > 0 ? -EIO : started)
  }

  private end(task: Task, result: number): void {
    this.underWay--
    if (task.kind !== 'read') this.working--
    if (task.startMs > 0) {
      const nowMs = performance.now()
      this.writtenBytes += task.doneBytes
      this.slowWrites.took(nowMs - task.startMs, this.writtenBytes - task.writtenBefore, nowMs)
    }
    if (task.growthBytes >= 0) this.onChanged?.(task.otherFile ?? task.file, task.growthBytes)
    task.answer(result)
    task.releaseFiles()
    this.idle.push(task)
  }
}
