import { performance } from 'node:perf_hooks'
import { AsyncEngine } from 'vhost-user-ts'
import { EBADF, EIO, OutHeader, PENDING_REPLY, type Request, sooner } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { HeldFd } from './held-fd.js'
import type { OpenFile } from './open-file.js'
import { SharedCopies } from './shared-copies.js'
import { SlowWrites } from './slow-writes.js'
import { Task, type TaskKind } from './task.js'

const { ASYNC_COPY_RANGE, RWF_NOWAIT } = native.constants
/** Calls on one file with an empty reply. */
export const { ASYNC_FALLOCATE, ASYNC_FDATASYNC, ASYNC_FSYNC, ASYNC_SYNCFS } = native.constants

/** Stopping rings wait this long for a task to begin, then give it up. */
const PATIENCE_MS = 5000
const LOOK_MS = 100
const ALL_KINDS = 255

/**
 * System calls that would keep other requests waiting. They start here, run in io_uring or helper threads, and are
 * answered in the order in which their results arrive. The guest waits for replies where order matters.
 *
 * Each call starts with a request that is owed a reply, and returns PENDING_REPLY or a negative errno. EBADF: the guest has
 * released the file meanwhile.
 */
export class AsyncIo {
  readonly engine: AsyncEngine
  readonly copies: SharedCopies
  readonly slowWrites = new SlowWrites()
  /** With a quota: what the next task may add to its file; -1: nothing is counted. */
  growthBytes = -1
  /** With a quota: called when a task that was counted ends, with the file that it changed. */
  onChanged: ((file: HeldFd, growthBytes: number) => void) | undefined
  private readonly tasks: Task[] = []
  private readonly idle: Task[] = []
  private underWay = 0
  /** Tasks under way other than reads from the disk: they need a processor, and such reads only wait. */
  private working = 0
  /** The rings are stopping: no copy begins another piece. */
  private stopping = false
  /** While they stop without waiting: the time at which every task is given up; Infinity: they are. 0: they do not. */
  private giveUpMs = 0
  /** Bytes written by all buffered writes that left the loop. */
  private writtenBytes = 0

  /** `copiers`: the most threads that share cached reads. Throws SystemCallError. */
  constructor(copiers = 0) {
    this.engine = new AsyncEngine({ maxCopiers: copiers })
    this.copies = new SharedCopies(copiers)
  }

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
    const dueMs = this.engine.nextDueMs()
    if (this.giveUpMs === 0 || this.giveUpMs === Number.POSITIVE_INFINITY) return dueMs
    return sooner(dueMs, Math.max(0, this.giveUpMs - performance.now()))
  }

  progress(): boolean {
    this.slowWrites.endBatch()
    if (this.underWay === 0) return false
    if (this.giveUpMs > 0 && performance.now() > this.giveUpMs) {
      this.giveUpMs = Number.POSITIVE_INFINITY
      this.engine.cancel(ALL_KINDS)
    }
    this.engine.submit()
    return this.engine.reap(this.resume) || this.help()
  }

  /** Carries out a cached read that no other thread has begun. Returns false if there is none. */
  private help(): boolean {
    if (this.working === 0 || !this.engine.help()) return false
    this.copies.tookBack()
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
    this.engine.cancel(ASYNC_COPY_RANGE)
    while (this.underWay > 0) {
      if (patient && performance.now() > endMs) {
        patient = false
        this.engine.cancel(ALL_KINDS)
      }
      this.step(patient ? LOOK_MS : this.nextDueMs())
    }
    this.stopping = false
  }

  /**
   * Does the same without waiting, while no other request begins: everything under way ends by `progress`. Returns true if
   * nothing is under way.
   */
  hurry(): boolean {
    if (this.underWay === 0) return true
    if (!this.stopping) {
      this.stopping = true
      this.giveUpMs = performance.now() + PATIENCE_MS
      this.engine.cancel(ASYNC_COPY_RANGE)
    }
    return false
  }

  /**
   * Returns true when nothing is under way. A running copy ends with the bytes it has. Returns false if it takes longer than
   * until `untilMs`, and then everything goes on.
   */
  settle(untilMs: number): boolean {
    this.stopping = true
    for (;;) {
      const leftMs = untilMs - performance.now()
      if (this.underWay === 0 || leftMs <= 0) break
      this.step(Math.min(LOOK_MS, Math.ceil(leftMs)))
    }
    this.stopping = false
    return this.underWay === 0
  }

  /** Takes results, or helps, or else waits for a result for `waitMs` at most (-1: without limit). */
  private step(waitMs: number): void {
    this.engine.submit()
    if (!this.engine.reap(this.resume) && !this.help()) this.engine.wait(waitMs)
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
    if (!file.hold()) return -EBADF
    const task = this.takeRead(request, file, fd, offsetBytes, lenBytes, doneBytes, isWhole)
    return this.begin(task, task.startTransfer())
  }

  /** The same for data that may be in the host's page cache: another thread takes what is there. */
  readCached(
    request: Request,
    file: OpenFile,
    offsetBytes: number,
    lenBytes: number,
    isWhole: boolean,
  ): number {
    if (!file.hold()) return -EBADF
    const task = this.takeRead(request, file, file.fd, offsetBytes, lenBytes, 0, isWhole)
    task.isCached = true
    task.host = file.host
    task.flags = file.host.nowaitReads ? RWF_NOWAIT : 0
    this.copies.handedOver()
    return this.begin(task, task.startTransfer())
  }

  private takeRead(
    request: Request,
    file: OpenFile,
    fd: number,
    offsetBytes: number,
    lenBytes: number,
    doneBytes: number,
    isWhole: boolean,
  ): Task {
    const task = this.take(request, file, 'read')
    file.setBlocking()
    task.fd = fd
    task.offsetBytes = offsetBytes
    task.skipBytes = OutHeader.BYTES
    task.leftBytes = lenBytes
    task.flags = 0
    task.isWhole = isWhole
    task.advance(doneBytes)
    return task
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
    if (!file.hold()) return -EBADF
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
    if (!file.hold()) return -EBADF
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
    if (!from.hold()) return -EBADF
    if (!to.hold()) {
      from.release()
      return -EBADF
    }
    const task = this.take(request, from, 'copy')
    task.otherFile = to
    task.offsetBytes = inOffsetBytes
    task.outOffsetBytes = outOffsetBytes
    task.leftBytes = lenBytes
    return this.begin(task, task.startTransfer())
  }

  /** `file` is held for the task. */
  private take(request: Request, file: HeldFd, kind: TaskKind): Task {
    let task = this.idle.pop()
    if (task === undefined) {
      task = new Task(this.engine.tokenOf(this.tasks.length))
      this.tasks.push(task)
    }
    task.kind = kind
    task.file = file
    task.reply = request.defer()
    task.doneBytes = 0
    task.isWhole = false
    task.isCached = false
    task.startMs = 0
    task.growthBytes = this.growthBytes
    this.growthBytes = -1
    return task
  }

  private begin(task: Task, started: number): number {
    this.underWay++
    if (task.needsProcessor) this.working++
    if (started < 0) this.end(task, started)
    else this.engine.begun()
    return PENDING_REPLY
  }

  /** Continues after a short transfer. Only an empty transfer marks the end of a file. */
  private readonly resume = (call: number, result: number): void => {
    const task = this.tasks[call]
    if (result > 0) task.advance(result)
    const turned = task.becomesUncached(result)
    if (turned) this.working--
    const mayGoOn = task.kind !== 'empty' && !(this.stopping && task.kind === 'copy')
    const goesOn = turned || (mayGoOn && result > 0 && task.leftBytes > 0)
    const started = goesOn ? task.startTransfer() : result
    if (goesOn && started === 0) this.engine.begun()
    // Without this, a write of no bytes would be a short success.
    else this.end(task, task.kind === 'write' && started === 0 && task.leftBytes > 0 ? -EIO : started)
  }

  private goOnAsBefore(): void {
    this.stopping = false
    this.giveUpMs = 0
  }

  private end(task: Task, result: number): void {
    this.underWay--
    if (this.giveUpMs > 0 && this.underWay === 0) this.goOnAsBefore()
    if (task.needsProcessor) this.working--
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
