import {
  ARGS,
  EAGAIN,
  EBADF,
  EINVAL,
  EOVERFLOW,
  FUSE_LK_FLOCK,
  LkIn,
  LkOut,
  PENDING_REPLY,
  type Request,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { HandleTable } from '../files/handle-table.js'
import type { HeldFd } from '../files/held-fd.js'
import type { OpenFile } from '../files/open-file.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { LockTable, type OwnerLocks, ownerKey } from './lock-table.js'
import { LockWaiters } from './lock-waiters.js'

const { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_SH, LOCK_UN } = native.constants

const NO_PID = 0

/** What these operations work on. */
interface Share {
  readonly inodes: InodeTable
  readonly files: HandleTable<OpenFile>
  readonly budget: FdBudget
  readonly procFd: number
}

/** Locks that are kept on the host's files, where its processes and other guests meet them. */
export class LockOperations {
  private readonly table: LockTable
  private readonly waiters = new LockWaiters()
  private readonly found = new Float64Array(4)

  constructor(private readonly share: Share) {
    const { procFd, budget, inodes } = share
    this.table = new LockTable(procFd, budget, () => inodes.fds.makeRoom())
  }

  /** FUSE_GETLK. Reply: lk_out, of type F_UNLCK when nothing is in the way. Errors: EBADF, EINVAL, EOVERFLOW, ENOLCK. */
  getlk(request: Request): number {
    const { args, reply } = request
    const file = this.share.files.get(LkIn.handle(args, ARGS))
    if (file === undefined) return -EBADF
    const type = LkIn.type(args, ARGS)
    const startBytes = LkIn.startBytes(args, ARGS)
    const lenBytes = lenOf(startBytes, LkIn.lastByte(args, ARGS))
    if (type !== F_RDLCK && type !== F_WRLCK) return -EINVAL
    if (lenBytes < 0) return lenBytes
    const owner = this.table.getOrOpen(file, ownerOf(request))
    if (typeof owner === 'number') return owner
    const { found } = this
    const result = native.getRangeLock(owner.fd, type, startBytes, lenBytes, found)
    if (result < 0) return result
    if (result === 0) {
      LkOut.write(reply, 0, startBytes, lenBytes, F_UNLCK, NO_PID)
    } else {
      const pid = this.table.holderPid(file.nodeid, owner, found[1], found[2])
      LkOut.write(reply, 0, found[1], found[2], found[0], pid)
    }
    return LkOut.BYTES
  }

  /** FUSE_SETLK, of a record or a whole file. Reply: empty. Errors: EBADF, EINVAL, EOVERFLOW, ENOLCK, EAGAIN (taken). */
  setlk(request: Request): number {
    return this.set(request, false)
  }

  /** FUSE_SETLKW: the same, answered when nothing is in the way any more. */
  setlkw(request: Request): number {
    return this.set(request, true)
  }

  /** FLUSH: a process of the guest has closed a descriptor of a file. */
  dropOwner(nodeid: number, ownerLow: number, ownerHigh: number): void {
    if (this.table.drop(nodeid, ownerKey(ownerLow, ownerHigh))) this.waiters.wake()
  }

  /** The guest has released a handle; its flock goes with it. `isLast`: no other handle of the file is left. */
  released({ nodeid }: OpenFile, isLast: boolean): void {
    if (isLast) this.table.dropFile(nodeid)
    this.waiters.wake()
  }

  progress(): boolean {
    return this.waiters.progress()
  }

  nextDueMs(): number {
    return this.waiters.nextDueMs()
  }

  giveUpWaiting(): void {
    this.waiters.giveUp()
  }

  clear(): void {
    this.waiters.giveUp()
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

  /** The guest's open file is one handle here: the lock can belong to its descriptor. */
  private setFlock(request: Request, file: OpenFile, type: number, wait: boolean): number {
    const operation = type === F_UNLCK ? LOCK_UN : type === F_RDLCK ? LOCK_SH : LOCK_EX
    return this.take(request, file, wait && type !== F_UNLCK, () => native.flock(file.fd, operation))
  }

  private setRange(request: Request, file: OpenFile, type: number, wait: boolean): number {
    const { args } = request
    const startBytes = LkIn.startBytes(args, ARGS)
    const lenBytes = lenOf(startBytes, LkIn.lastByte(args, ARGS))
    if (lenBytes < 0) return lenBytes
    const owner = this.ownerFor(request, file, type)
    if (typeof owner === 'number') return owner
    if (type !== F_UNLCK) owner.pid = LkIn.pid(args, ARGS)
    return this.take(request, owner, wait && type !== F_UNLCK, () =>
      native.setRangeLock(owner.fd, type, startBytes, lenBytes),
    )
  }

  /** Who has never locked has nothing to unlock: 0. */
  private ownerFor(request: Request, file: OpenFile, type: number): OwnerLocks | number {
    const key = ownerOf(request)
    return type === F_UNLCK ? (this.table.get(file.nodeid, key) ?? 0) : this.table.getOrOpen(file, key)
  }

  private take(request: Request, file: HeldFd, wait: boolean, attempt: () => number): number {
    const result = attempt()
    // Also a lock that was taken may have replaced a stronger one.
    if (result === 0) this.waiters.wake()
    if (result !== -EAGAIN || !wait) return result
    this.waiters.add(request.defer(), file, attempt)
    return PENDING_REPLY
  }
}

function ownerOf({ args }: Request): string {
  return ownerKey(LkIn.ownerLow(args, ARGS), LkIn.ownerHigh(args, ARGS))
}

/** The length of a range, 0 for one up to the end of the file; -EOVERFLOW, -EINVAL. */
function lenOf(startBytes: number, lastByte: number): number {
  if (startBytes < 0) return -EOVERFLOW
  if (lastByte < 0) return 0
  if (lastByte < startBytes) return -EINVAL
  const lenBytes = lastByte - startBytes + 1
  // No file reaches as far as the longest of ranges: it has no end either.
  return Number.isSafeInteger(lenBytes) ? lenBytes : 0
}
