import {
  ARGS,
  EAGAIN,
  EBADF,
  EDEADLK,
  EINVAL,
  ENOLCK,
  EOVERFLOW,
  FUSE_LK_FLOCK,
  LkIn,
  LkOut,
  PENDING_REPLY,
  type Request,
  sooner,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Handles } from '../files/handles.js'
import type { OpenFile } from '../files/open-file.js'
import type { HostPaths } from '../inodes/host-paths.js'
import type { MemoryAccount } from '../memory-account.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import { UNTIL_WOKEN, type Wait, WaitingRequests } from '../waiting-requests.js'
import { Deadlocks, isTaken } from './deadlocks.js'
import { lockOnHost } from './file-locks.js'
import { type LockCarriers, LockTable } from './lock-table.js'
import { MovedLocks } from './moved-locks.js'
import { type ByteRange, NO_END, type OwnedRange, type Owner } from './owned-ranges.js'

const { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_SH, LOCK_UN } = native.constants

const NO_PID = 0
/** Most entries of each kind in a report. */
const MOST_REPORTED = 1000

/** The parts of the share that these operations use. */
interface Share {
  readonly files: Handles<OpenFile>
  readonly paths: HostPaths
  readonly memory: MemoryAccount
  readonly options: PassthroughOptions
}

/** A request for a lock that another owner holds. `wanted` is undefined for a flock. */
interface LockWait extends Wait {
  readonly file: OpenFile
  readonly type: number
  readonly pid: number
  readonly wanted: OwnedRange | undefined
}

/** A lock, for `ctl locks`. Bytes are those of a record lock, from first to last (null: without end). */
export interface LockReport {
  readonly path: string | undefined
  readonly kind: 'record' | 'flock'
  readonly type: 'read' | 'write'
  readonly from?: number
  readonly to?: number | null
  /** The process id inside the guest. */
  readonly pid: number
}

/** A lock that a request waits for. */
export interface LockWaitReport extends LockReport {
  readonly id: number
  readonly seconds: number
  /** The holder: a process of this guest, or one outside it. */
  readonly heldBy: string
}

export interface LocksReport {
  readonly waiting: readonly LockWaitReport[]
  readonly held: readonly LockReport[]
}

/** Locks on the host's files, visible to its processes and other guests. */
export class LockOperations {
  private readonly table: LockTable
  private readonly waiters: WaitingRequests<LockWait>
  private readonly moved: MovedLocks
  private readonly deadlocks: Deadlocks

  constructor(private readonly share: Share) {
    this.table = new LockTable(share.memory)
    this.waiters = new WaitingRequests(share.memory)
    this.moved = new MovedLocks(this.table)
    this.deadlocks = new Deadlocks(this.table, () => this.waiters.waits())
  }

  /** FUSE_GETLK. Reply: lk_out, of type F_UNLCK if nothing conflicts. Errors: EBADF, EINVAL, EOVERFLOW. */
  getlk(request: Request): number {
    const { args, reply } = request
    const file = this.share.files.get(LkIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const type = LkIn.type(args, ARGS)
    if (type !== F_RDLCK && type !== F_WRLCK) return -EINVAL
    const bytes = rangeOf(request)
    if (typeof bytes === 'number') return bytes
    const wanted = ownedRange(request, bytes, file, type)
    const locks = this.table.of(file.nodeid)
    const ofGuest = locks?.ranges.inWayOf(wanted)
    const found =
      ofGuest ?? (locks === undefined ? lockOnHost(file.fd, wanted, type) : locks.inWayOnHost(wanted))
    if (found === undefined) writeLock(reply, { ...bytes, type: F_UNLCK }, NO_PID)
    else writeLock(reply, found, ofGuest?.pid ?? NO_PID)
    return LkOut.BYTES
  }

  /** FUSE_SETLK, of a record or a whole file. Reply: empty. Errors: EBADF, EINVAL, EOVERFLOW, ENOLCK, EAGAIN (taken). */
  setlk(request: Request): number {
    return this.set(request, false)
  }

  /**
   * FUSE_SETLKW: the same, answered when no lock conflicts any more. ETIMEDOUT after `--lock-timeout`; EDEADLK if owners of
   * this guest would wait for each other.
   */
  setlkw(request: Request): number {
    return this.set(request, true)
  }

  /** FLUSH: a process of the guest has closed a descriptor of a file, which drops its POSIX locks. */
  dropOwner(nodeid: number, ownerLow: number, ownerHigh: number): void {
    if (this.table.dropOwner(nodeid, { ownerLow, ownerHigh })) this.waiters.wake()
  }

  /**
   * RELEASE: no descriptor of a handle is left. The locks still held through it are OFD locks, which Linux does not unlock,
   * and its flock. Call this before the handle is released.
   */
  released(file: OpenFile): void {
    this.waiters.released(file, EBADF)
    this.moved.released(file)
    this.table.dropHandle(file)
    if (file.isShared) native.flock(file.fd, LOCK_UN)
  }

  /** Wakes waiting requests: the handle is now released, and its flock with it. */
  wake(): void {
    this.waiters.wake()
  }

  progress(): boolean {
    this.moved.progress()
    return this.waiters.progress()
  }

  nextDueMs(): number {
    return sooner(this.waiters.nextDueMs(), this.moved.nextDueMs())
  }

  /** The record locks that the guest holds, for its next device. */
  held(): Iterable<OwnedRange> {
    return this.table.all()
  }

  /** Takes over a record lock that the guest holds on its last device. Returns 0 or a negative errno. */
  restoreRange(held: OwnedRange): number {
    const result = this.table.adopt(held)
    if (result === 0) this.moved.addRange(held.file.nodeid)
    return result
  }

  /** The files that carry record locks on the host, for the process that goes on. */
  carriers(): Iterable<LockCarriers> {
    return this.table.carriers()
  }

  /** Takes over files that carry the record locks of an inode on the host. */
  adoptCarriers(carriers: LockCarriers): void {
    this.table.adoptCarriers(carriers)
  }

  /** Knows a record lock that the guest holds, and that files of `adoptCarriers` carry. Returns 0 or a negative errno. */
  adoptRange(held: OwnedRange): number {
    return this.table.adopt(held)
  }

  /** Takes over the flock that an open file has on the guest's last device. `type`: F_RDLCK or F_WRLCK. */
  restoreFlock(file: OpenFile, type: number): void {
    file.flock = type
    this.moved.addFlock(file)
  }

  forgetWaiting(): void {
    this.waiters.forget()
  }

  giveUpWaiting(): void {
    this.waiters.stop()
  }

  get waitingCount(): number {
    return this.waiters.count
  }

  /** Cancels waiting locks for an operator on the host: one by its number, or all. Returns the count. */
  cancel(id: number | undefined): number {
    return this.waiters.cancel((other) => id === undefined || other === id)
  }

  report(): LocksReport {
    const waiting = this.waiters.report().slice(0, MOST_REPORTED)
    const held: LockReport[] = []
    for (const range of this.table.all()) {
      if (held.length === MOST_REPORTED) break
      held.push(this.describe(range.file, range.type, range.pid, range))
    }
    return {
      waiting: waiting.map(({ id, wait, waitedMs }) => ({
        id,
        ...this.describe(wait.file, wait.type, wait.pid, wait.wanted),
        seconds: Math.round(waitedMs / 100) / 10,
        heldBy: this.holderOf(wait),
      })),
      held,
    }
  }

  clear(): void {
    this.waiters.stop()
    this.moved.clear()
    this.table.clear()
  }

  private set(request: Request, wait: boolean): number {
    const { args } = request
    const file = this.share.files.get(LkIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const type = LkIn.type(args, ARGS)
    if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return -EINVAL
    const isFlock = (LkIn.lkFlags(args, ARGS) & FUSE_LK_FLOCK) !== 0
    return isFlock ? this.setFlock(request, file, type, wait) : this.setRange(request, file, type, wait)
  }

  /** Takes a flock. One handle is one open file of the guest, so the lock can belong to the handle's descriptor. */
  private setFlock(request: Request, file: OpenFile, type: number, wait: boolean): number {
    const operation = type === F_UNLCK ? LOCK_UN : type === F_RDLCK ? LOCK_SH : LOCK_EX
    const attempt = () => {
      const result = this.woken(native.flock(file.fd, operation))
      if (result >= 0) file.flock = type
      return result
    }
    return this.take(request, { file, type, attempt, wanted: undefined }, wait && type !== F_UNLCK)
  }

  private setRange(request: Request, file: OpenFile, type: number, wait: boolean): number {
    const bytes = rangeOf(request)
    if (typeof bytes === 'number') return bytes
    if (type === F_UNLCK) {
      const result = this.table.unlock(file.nodeid, ownerOf(request), bytes)
      if (result > 0) this.waiters.wake()
      return Math.min(result, 0)
    }
    const wanted = ownedRange(request, bytes, file, type)
    const attempt = () => {
      const result = this.woken(this.table.take(wanted))
      // Only this guest can drop its own lock, and that wakes the waiting requests.
      return result === -EAGAIN && this.table.holderInWayOf(wanted) !== undefined ? UNTIL_WOKEN : result
    }
    return this.take(request, { file, type, attempt, wanted }, wait)
  }

  /** Wakes waiting requests: even a lock that was taken may have replaced a stronger one. */
  private woken(result: number): number {
    if (result === 0) this.waiters.wake()
    return result
  }

  private take(
    request: Request,
    lock: Pick<LockWait, 'file' | 'type' | 'attempt' | 'wanted'>,
    wait: boolean,
  ): number {
    const result = lock.attempt()
    if (!isTaken(result) || !wait) return isTaken(result) ? -EAGAIN : result
    if (lock.wanted !== undefined && this.deadlocks.closes(lock.wanted)) return -EDEADLK
    if (!this.waiters.hasRoom) return -ENOLCK
    const { lockTimeoutMs } = this.share.options
    this.waiters.add(request.defer(), {
      ...lock,
      attempt: this.deadlocks.watched(lock),
      pid: LkIn.pid(request.args, ARGS),
      ...(lockTimeoutMs === undefined ? {} : { timeoutMs: lockTimeoutMs }),
      stopError: EAGAIN,
    })
    return PENDING_REPLY
  }

  private holderOf({ wanted }: LockWait): string {
    if (wanted === undefined) return 'another open file'
    const range = this.table.holderInWayOf(wanted)
    return range === undefined ? 'outside of this guest' : `process ${range.pid} of this guest`
  }

  private describe({ fd }: OpenFile, type: number, pid: number, bytes: ByteRange | undefined): LockReport {
    const path = this.share.paths.below(fd)
    const words = type === F_WRLCK ? 'write' : 'read'
    if (bytes === undefined) return { path, kind: 'flock', type: words, pid }
    const to = bytes.lastByte === NO_END ? null : bytes.lastByte
    return { path, kind: 'record', type: words, from: bytes.startByte, to, pid }
  }
}

function ownerOf({ args }: Request): Owner {
  return { ownerLow: LkIn.ownerLow(args, ARGS), ownerHigh: LkIn.ownerHigh(args, ARGS) }
}

function ownedRange(
  request: Request,
  { startByte, lastByte }: ByteRange,
  file: OpenFile,
  type: number,
): OwnedRange {
  const { ownerLow, ownerHigh } = ownerOf(request)
  return { startByte, lastByte, ownerLow, ownerHigh, file, type, pid: LkIn.pid(request.args, ARGS) }
}

/** Returns the bytes of a request. Errors: EOVERFLOW, EINVAL. */
function rangeOf({ args }: Request): ByteRange | number {
  const startByte = LkIn.startBytes(args, ARGS)
  const lastByte = LkIn.lastByte(args, ARGS)
  if (startByte < 0) return -EOVERFLOW
  // No file is long enough for the longest range, so it counts as a range without end.
  if (lastByte < 0 || !Number.isSafeInteger(lastByte + 1)) return { startByte, lastByte: NO_END }
  return lastByte < startByte ? -EINVAL : { startByte, lastByte }
}

function writeLock(reply: DataView, range: ByteRange & { readonly type: number }, pid: number): void {
  const { startByte, lastByte, type } = range
  LkOut.write(reply, 0, startByte, lastByte === NO_END ? 0 : lastByte - startByte + 1, type, pid)
}
