import { EACCES, ENFILE, ENOLCK, EROFS, ETXTBSY } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { HeldFd } from '../files/held-fd.js'
import type { OpenFile } from '../files/open-file.js'
import type { FdBudget } from '../inodes/fd-budget.js'

const { F_WRLCK, O_NONBLOCK, O_RDONLY, O_RDWR } = native.constants

/** A process of the guest, as far as record locks on one file go: 64 bits that mean nothing to us. */
export function ownerKey(low: number, high: number): string {
  return `${high}:${low}`
}

/**
 * The record locks of one owner on one file. POSIX locks belong to a process, and every guest process is this process
 * here: so each owner has an open file of its own, to which its locks belong (fcntl(2), "open file description locks").
 */
export class OwnerLocks extends HeldFd {
  /** Of the guest's process that locked last. */
  pid = 0
}

/** Record locks by file and owner. */
export class LockTable {
  private readonly byNode = new Map<number, Map<string, OwnerLocks>>()

  constructor(
    private readonly procFd: number,
    private readonly budget: FdBudget,
    private readonly makeRoom: () => boolean,
  ) {}

  get(nodeid: number, owner: string): OwnerLocks | undefined {
    return this.byNode.get(nodeid)?.get(owner)
  }

  /** The locks of an owner on the file that `file` is a handle of, or a negative errno: ENOLCK for want of descriptors. */
  getOrOpen(file: OpenFile, owner: string): OwnerLocks | number {
    const known = this.get(file.nodeid, owner)
    if (known !== undefined) return known
    if (!this.makeRoom()) return -ENOLCK
    const fd = this.open(file.fd)
    if (fd < 0) return fd === -ENFILE ? -ENOLCK : fd
    const locks = new OwnerLocks(fd, this.budget)
    const ofFile = this.byNode.get(file.nodeid)
    if (ofFile === undefined) this.byNode.set(file.nodeid, new Map([[owner, locks]]))
    else ofFile.set(owner, locks)
    return locks
  }

  /** The guest's process that keeps a range from `asker`, or 0 when it is none of this guest. */
  holderPid(nodeid: number, asker: OwnerLocks, startBytes: number, lenBytes: number): number {
    const scratch = new Float64Array(4)
    for (const locks of this.byNode.get(nodeid)?.values() ?? []) {
      // Nobody's own locks are in the way: who alone could lock the range holds it.
      const inWay = native.getRangeLock(locks.fd, F_WRLCK, startBytes, lenBytes, scratch)
      if (locks !== asker && inWay === 0) return locks.pid
    }
    return 0
  }

  /** Gives up the locks of an owner on a file. Whether it had any. */
  drop(nodeid: number, owner: string): boolean {
    const ofFile = this.byNode.get(nodeid)
    const locks = ofFile?.get(owner)
    if (ofFile === undefined || locks === undefined) return false
    ofFile.delete(owner)
    if (ofFile.size === 0) this.byNode.delete(nodeid)
    locks.release()
    return true
  }

  /** Gives up all locks on a file. Whether there were any. */
  dropFile(nodeid: number): boolean {
    const ofFile = this.byNode.get(nodeid)
    if (ofFile === undefined) return false
    this.byNode.delete(nodeid)
    for (const locks of ofFile.values()) locks.release()
    return true
  }

  clear(): void {
    for (const nodeid of [...this.byNode.keys()]) this.dropFile(nodeid)
  }

  /** For write locks, where this process may write; else for read locks. */
  private open(fd: number): number {
    const result = native.inodeOpen(this.procFd, fd, O_RDWR | O_NONBLOCK)
    const mayRead = result === -EROFS || result === -EACCES || result === -ETXTBSY
    return mayRead ? native.inodeOpen(this.procFd, fd, O_RDONLY | O_NONBLOCK) : result
  }
}
