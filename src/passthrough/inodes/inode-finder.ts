import { ENFILE, ENOENT, EOPNOTSUPP, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { descriptorError } from '../descriptors.js'
import type { NameOpener } from '../names/name-opener.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { FdBudget } from './fd-budget.js'
import { FileHandles } from './file-handles.js'
import { HandleLife, type HostFileSystems, handleLifeAt } from './host-file-system.js'
import type { HostPaths } from './host-paths.js'
import type { InodeTable } from './inode-table.js'
import { STATX_MASK, statxIsDirectory, statxMountsItself, statxSameFile } from './statx.js'

const EMPTY_NAME = new Uint8Array(1)

const { AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, O_PATH } = native.constants

/**
 * Finds inodes by their names on the host, and adds new ones to the table. Methods that return a slot have counted a
 * lookup of it and filled the caller's `st` with its attributes. Otherwise they return a negative errno.
 */
export class InodeFinder {
  private readonly otherSt = new Int32Array(Statx.WORDS)
  /** True if the last lookup found a new inode. New inodes come in series, during listings and walks. */
  private expectsNew = false

  constructor(
    private readonly inodes: InodeTable,
    private readonly hosts: HostFileSystems,
    private readonly opener: NameOpener,
    private readonly budget: FdBudget,
    private readonly options: PassthroughOptions,
    private readonly paths: HostPaths,
  ) {}

  /**
   * Looks a name up. `name` holds one component at byte `at`, NUL-terminated. If the host mounts a file system there on
   * demand, it does so, and may take its time.
   */
  lookup(parent: number, name: Uint8Array, at: number, st: StatxWords): number {
    return this.find(parent, name, at, st, AT_SYMLINK_NOFOLLOW)
  }

  /** The same for a name in a listing, which makes the host mount nothing: where it would have to, ENOENT. */
  lookupListed(parent: number, name: Uint8Array, at: number, st: StatxWords): number {
    return this.find(parent, name, at, st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)
  }

  private find(parent: number, name: Uint8Array, at: number, st: StatxWords, flags: number): number {
    const { inodes } = this
    const parentFd = inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    // A stat first saves opening a known inode. For a new inode it is an extra call.
    if (!this.expectsNew || this.budget.left === 0) {
      const result = native.statx(parentFd, name, at, flags, STATX_MASK, st)
      if (result < 0) return result
      const known = inodes.findAndRef(st, parentFd, name, at)
      if (known !== 0) {
        if (this.lacksName(known)) this.nameAgain(known, parentFd, name, at)
        return known
      }
    }
    if (!inodes.fds.makeRoom()) return -ENFILE
    const fd = this.opener.open(parentFd, name, at, O_PATH, 0)
    if (fd < 0) return descriptorError(fd)
    // The name may stand for another file since the stat. The opened file counts.
    const opened = native.fstatx(fd, STATX_MASK, st)
    if (opened === 0 && !this.isUnmounted(fd, st)) return this.adoptStated(fd, st)
    native.close(fd)
    if (opened < 0) return opened
    return (flags & AT_NO_AUTOMOUNT) === 0 ? this.findMounted(parentFd, name, at, st) : -ENOENT
  }

  /** Returns true if rules go by the path of a known inode, and the host has dropped its name. */
  private lacksName(slot: number): boolean {
    return this.options.rules.any && this.paths.isUnnamed(slot)
  }

  /** Opens a known inode by the name at which it was found, which its path then ends with. */
  private nameAgain(slot: number, parentFd: number, name: Uint8Array, at: number): void {
    const { inodes, otherSt } = this
    if (!inodes.fds.makeRoom()) return
    const fd = this.opener.open(parentFd, name, at, O_PATH, 0)
    if (fd < 0) return
    // The name may stand for another file by now.
    if (native.fstatx(fd, STATX_MASK, otherSt) === 0 && inodes.isOf(slot, otherSt))
      inodes.fds.replace(slot, fd)
    else native.close(fd)
  }

  /** Returns true if the host mounts a file system over the directory of `fd` when somebody walks into it. */
  private isUnmounted(fd: number, st: StatxWords): boolean {
    if (!statxIsDirectory(st)) return false
    return statxMountsItself(st) || this.hosts.of(this.inodes.deviceFor(st), fd).isAutofs
  }

  /** Opening a name with O_PATH does not make the host mount what belongs there. A stat does. */
  private findMounted(parentFd: number, name: Uint8Array, at: number, st: StatxWords): number {
    const result = native.statx(parentFd, name, at, AT_SYMLINK_NOFOLLOW, STATX_MASK, st)
    const fd = result < 0 ? result : this.opener.open(parentFd, name, at, O_PATH, 0)
    return fd < 0 ? descriptorError(fd) : this.adopt(fd, st)
  }

  /** Returns the slot of the file of `fd`, an O_PATH descriptor that this method takes over. */
  adopt(fd: number, st: StatxWords): number {
    const result = native.fstatx(fd, STATX_MASK, st)
    if (result < 0) {
      native.close(fd)
      return result
    }
    return this.adoptStated(fd, st)
  }

  /**
   * The same for a file just made as a name in `parentFd`. `fd` holds it open and stays the caller's. The name is the quick
   * way to the file, unless a process on the host has replaced it meanwhile.
   */
  adoptMade(fd: number, parentFd: number, name: Uint8Array, at: number, st: StatxWords): number {
    const named = this.opener.open(parentFd, name, at, O_PATH, 0)
    if (named >= 0 && statxSameFile(fd, named, st, this.otherSt)) return this.adoptStated(named, st)
    if (named >= 0) native.close(named)
    const pathFd = native.inodeOpen(this.options.procFd, fd, O_PATH)
    return pathFd < 0 ? descriptorError(pathFd) : this.adopt(pathFd, st)
  }

  private adoptStated(fd: number, st: StatxWords): number {
    const { inodes } = this
    inodes.lock()
    const known = inodes.findAndRef(st, fd, EMPTY_NAME, 0)
    this.expectsNew = known === 0
    const refused = known === 0 ? this.refusalOf(fd, st) : 0
    const added = known === 0 && refused === 0 ? inodes.add(fd, st) : 0
    inodes.unlock()
    if (added !== 0) return added
    if (known !== 0 && this.lacksName(known)) inodes.fds.replace(known, fd)
    else native.close(fd)
    return refused < 0 ? refused : known
  }

  /** Returns the errno if the guest cannot have the inode of `fd` in addition, or 0. */
  private refusalOf(fd: number, st: StatxWords): number {
    const { inodes } = this
    const { inodeLimit, fileHandles, report } = this.options
    if (inodes.deviceFor(st) === 0) {
      report('out of device numbers: the guest gets ENFILE', {})
      return -ENFILE
    }
    if ((inodes.count >= inodeLimit || inodes.isFull) && !inodes.dropOldest()) {
      report('out of inodes: the guest gets ENFILE', { limit: inodeLimit })
      return -ENFILE
    }
    if (fileHandles !== 'mandatory') return 0
    return FileHandles.exists(fd) && handleLifeAt(fd) !== HandleLife.AsCache ? 0 : -EOPNOTSUPP
  }
}
