import {
  ARGS,
  BatchForgetIn,
  EBADF,
  EINVAL,
  ENFILE,
  ENOENT,
  EPERM,
  ESTALE,
  ForgetIn,
  LinkIn,
  MAX_REPLY_BYTES,
  MkdirIn,
  MknodIn,
  NO_REPLY,
  Rename2In,
  RenameIn,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { descriptorError } from '../descriptors.js'
import { type ExportOperations, isDots } from '../inodes/export.js'
import type { HostFileSystems } from '../inodes/host-file-system.js'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY, TYPE_REGULAR, TYPE_SYMLINK } from '../inodes/inode-table.js'
import type { RemovedByHost } from '../inodes/removed-by-host.js'
import type { Caller } from '../owners/caller.js'
import { refusalOfNode } from '../owners/refused-modes.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { Replies } from '../replies.js'
import type { SecurityLabels } from '../xattrs/security-labels.js'
import { HeldInodes } from './held-inodes.js'
import { findMade } from './made-inodes.js'
import { removeMadeName } from './made-name.js'
import type { NameOpener } from './name-opener.js'

const { AT_REMOVEDIR, O_CREAT, O_EXCL, O_RDONLY, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } =
  native.constants

const RENAME_FLAGS = RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT
/** Longer targets do not fit into one page of the guest. */
const LINK_TARGET_MAX_BYTES = 4096
const PERMISSIONS = 0o7777
const DOT = 0x2e

const emptyName = new Uint8Array(1)

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly hosts: HostFileSystems
  readonly finder: InodeFinder
  readonly opener: NameOpener
  readonly caller: Caller
  readonly labels: SecurityLabels
  readonly replies: Replies
  readonly procFd: number
  readonly removed: RemovedByHost
  readonly options: PassthroughOptions
}

/** Operations on names in directories, and the guest's knowledge of inodes. */
export class NameOperations {
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly held: HeldInodes

  constructor(
    private readonly share: Share,
    private readonly exported: ExportOperations,
  ) {
    this.held = new HeldInodes(share)
  }

  /**
   * FUSE_LOOKUP. Reply: entry_out, with node id 0 for a name whose absence may be cached. Errors: EBADF (unknown directory
   * inode) and those of statx and openat.
   */
  lookup(request: Request): number {
    if (request.argBytes[request.nameAt] === DOT && isDots(request)) return this.exported.lookup(request)
    const parent = this.directoryOf(request.nodeid)
    if (parent === 0) return -EBADF
    const slot = this.share.finder.lookup(parent, request.argBytes, request.nameAt, this.st)
    if (slot !== -ENOENT) return this.share.replies.entry(request, slot, parent, this.st)
    return this.isGone(parent) ? -ESTALE : this.share.replies.noEntry(request)
  }

  /** FUSE_FORGET. No reply. */
  forget(request: Request): number {
    this.forgetOne(request.nodeid, ForgetIn.nlookup(request.args, ARGS))
    return NO_REPLY
  }

  /** FUSE_BATCH_FORGET. No reply. */
  batchForget(request: Request): number {
    const { args } = request
    const room = Math.floor(request.payloadBytes(BatchForgetIn.BYTES) / BatchForgetIn.ONE_BYTES)
    const count = Math.min(BatchForgetIn.count(args, ARGS), room)
    for (let n = 0; n < count; n++) {
      this.forgetOne(BatchForgetIn.nodeid(args, ARGS, n), BatchForgetIn.nlookup(args, ARGS, n))
    }
    return NO_REPLY
  }

  /** FUSE_READLINK. Reply: the target, not terminated. Errors: EBADF, EINVAL (not a link) and those of readlinkat. */
  readlink(request: Request): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(request.nodeid)
    if (slot === 0) return -EBADF
    // readlinkat on an O_PATH descriptor returns ENOENT for this.
    if (inodes.typeOf(slot) !== TYPE_SYMLINK) return -EINVAL
    const fd = inodes.fdOf(slot)
    if (fd < 0) return fd
    const lenBytes = native.readlinkat(fd, emptyName, 0, request.replyBytes, 0)
    if (lenBytes === MAX_REPLY_BYTES) return -EINVAL
    return Math.min(lenBytes, LINK_TARGET_MAX_BYTES)
  }

  /** FUSE_SYMLINK. Reply: entry_out. Errors: ESTALE (replaced on the host meanwhile) and those of symlinkat. */
  symlink(request: Request): number {
    const parentFd = this.beginMaking(request, 0)
    if (parentFd < 0) return parentFd
    const { argBytes, nameAt, secondNameAt } = request
    const result = native.symlinkat(argBytes, secondNameAt, parentFd, argBytes, nameAt)
    return this.finishMaking(request, result, TYPE_SYMLINK)
  }

  /** FUSE_MKNOD. Reply: entry_out. Errors: ESTALE (replaced on the host meanwhile) and those of mknodat. */
  mknod(request: Request): number {
    const { args, argBytes, nameAt } = request
    const mode = MknodIn.mode(args, ARGS)
    const device = MknodIn.rdev(args, ARGS)
    const refused = refusalOfNode(this.share.options, mode, device)
    if (refused < 0) return refused
    const parentFd = this.beginMaking(request, MknodIn.umask(args, ARGS))
    if (parentFd < 0) return parentFd
    const type = (mode >>> 12) & 0xf
    if (type === TYPE_REGULAR || type === 0) return this.makeFile(request, parentFd, mode & PERMISSIONS)
    return this.finishMaking(request, native.mknodat(parentFd, argBytes, nameAt, mode, device), type)
  }

  /** FUSE_MKDIR. Reply: entry_out. Errors: ESTALE (replaced on the host meanwhile) and those of mkdirat. */
  mkdir(request: Request): number {
    const { args, argBytes, nameAt } = request
    const parentFd = this.beginMaking(request, MkdirIn.umask(args, ARGS))
    if (parentFd < 0) return parentFd
    const mode = MkdirIn.mode(args, ARGS) & PERMISSIONS
    return this.finishMaking(request, native.mkdirat(parentFd, argBytes, nameAt, mode), TYPE_DIRECTORY)
  }

  /** FUSE_UNLINK. Reply: empty. */
  unlink(request: Request): number {
    return this.remove(request, 0)
  }

  /** FUSE_RMDIR. Reply: empty. */
  rmdir(request: Request): number {
    return this.remove(request, AT_REMOVEDIR)
  }

  /** FUSE_RENAME. Reply: empty. */
  rename(request: Request): number {
    return this.renameTo(request, RenameIn.newDirectory(request.args, ARGS), 0)
  }

  /** FUSE_RENAME2. Reply: empty. Errors: EINVAL for flags unknown to Linux. */
  rename2(request: Request): number {
    const flags = Rename2In.flags(request.args, ARGS)
    if ((flags & ~RENAME_FLAGS) !== 0) return -EINVAL
    return this.renameTo(request, Rename2In.newDirectory(request.args, ARGS), flags)
  }

  /** FUSE_LINK. Reply: entry_out of the linked inode. Errors: EPERM for a directory. */
  link(request: Request): number {
    const { inodes, procFd } = this.share
    const parent = this.directoryOf(request.nodeid)
    const slot = inodes.slotOf(LinkIn.oldNodeid(request.args, ARGS))
    if (parent === 0 || slot === 0) return -EBADF
    if (inodes.typeOf(slot) === TYPE_DIRECTORY) return -EPERM
    const { argBytes, nameAt } = request
    const fd = inodes.fdOf(slot)
    const parentFd = fd < 0 ? fd : inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const result = native.inodeLink(procFd, fd, parentFd, argBytes, nameAt)
    const stated = result < 0 ? this.staleIfGone(result, parent) : inodes.stat(slot, this.st)
    if (stated < 0) return stated
    if (!inodes.ref(slot)) return -ESTALE
    return this.share.replies.entry(request, slot, parent, this.st)
  }

  private directoryOf(nodeid: number): number {
    const { inodes } = this.share
    const slot = inodes.slotOf(nodeid)
    return slot !== 0 && inodes.typeOf(slot) === TYPE_DIRECTORY ? slot : 0
  }

  /**
   * Becomes the caller and returns the descriptor of the directory for a new name, or a negative errno. Also makes sure that
   * a descriptor is left for the new inode.
   */
  private beginMaking(request: Request, umask: number): number {
    const { share } = this
    const parent = this.directoryOf(request.nodeid)
    if (parent === 0) return -EBADF
    if (!share.inodes.fds.makeRoom()) return -ENFILE
    const parentFd = share.inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const entered = share.caller.enter(request, umask)
    return entered < 0 ? entered : parentFd
  }

  /** Makes an empty file. Opening it, unlike mknodat, tells which file it is. */
  private makeFile(request: Request, parentFd: number, mode: number): number {
    const { share } = this
    const { argBytes, nameAt } = request
    const fd = share.opener.open(parentFd, argBytes, nameAt, O_RDONLY | O_CREAT | O_EXCL, mode)
    share.caller.leave()
    if (fd < 0) return this.staleIfGone(descriptorError(fd), share.inodes.slotOf(request.nodeid))
    const slot = share.finder.adoptMade(fd, parentFd, argBytes, nameAt, this.st)
    native.close(fd)
    return this.replyMade(request, slot, 0)
  }

  /** Replies for a new name of a type that cannot be opened, or for the errno of making it. */
  private finishMaking(request: Request, result: number, type: number): number {
    const { share } = this
    share.caller.leave()
    const parent = share.inodes.slotOf(request.nodeid)
    if (result < 0) return this.staleIfGone(result, parent)
    const slot = findMade(share, request, parent, type, this.st)
    return this.replyMade(request, slot, type === TYPE_DIRECTORY ? AT_REMOVEDIR : 0)
  }

  /** Labels a new inode and replies with it. `removeFlags` are the unlinkat flags that undo its making. */
  private replyMade(request: Request, slot: number, removeFlags: number): number {
    const { share } = this
    const { argBytes, nameAt } = request
    const parent = share.inodes.slotOf(request.nodeid)
    const labelled = slot < 0 ? 0 : share.labels.labelNew(request, slot)
    if (labelled === 0) return share.replies.entry(request, slot, parent, this.st)
    removeMadeName(share.inodes.fdOf(slot), share.inodes.fdOf(parent), argBytes, nameAt, removeFlags)
    share.inodes.unref(slot, 1)
    return labelled
  }

  private forgetOne(nodeid: number, nlookup: number): void {
    if (nlookup === 0) return
    this.share.inodes.forget(nodeid, nlookup < 0 ? Number.POSITIVE_INFINITY : nlookup)
  }

  private remove(request: Request, flags: number): number {
    const parent = this.directoryOf(request.nodeid)
    if (parent === 0) return -EBADF
    const { argBytes, nameAt } = request
    const refused = this.held.holdRemoved(parent, argBytes, nameAt)
    const parentFd = refused < 0 ? refused : this.share.inodes.fdOf(parent)
    const result = parentFd < 0 ? parentFd : native.unlinkat(parentFd, argBytes, nameAt, flags)
    this.held.letGo()
    return this.staleIfGone(result, parent)
  }

  /** Returns true if the host has removed a directory in which a name was not found: the path may lead to another one. */
  private isGone(directory: number): boolean {
    const fd = this.share.inodes.fdOf(directory)
    return fd >= 0 && this.share.removed.isDirectoryGone(directory, fd)
  }

  /** Returns the errno of an operation on a name in a directory: ESTALE in place of ENOENT if the directory is gone. */
  private staleIfGone(result: number, directory: number): number {
    return result === -ENOENT && this.isGone(directory) ? -ESTALE : result
  }

  private renameTo(request: Request, newNodeid: number, flags: number): number {
    const { inodes } = this.share
    const from = this.directoryOf(request.nodeid)
    const to = this.directoryOf(newNodeid)
    if (from === 0 || to === 0) return -EBADF
    const { argBytes, nameAt, secondNameAt } = request
    const refused = this.holdRenamed(request, from, to, flags)
    const fromFd = refused < 0 ? refused : inodes.fdOf(from)
    const toFd = fromFd < 0 ? fromFd : inodes.fdOf(to)
    const result =
      toFd < 0 ? toFd : native.renameat2(fromFd, argBytes, nameAt, toFd, argBytes, secondNameAt, flags)
    this.held.letGo()
    return result === -ENOENT && (this.isGone(from) || this.isGone(to)) ? -ESTALE : result
  }

  /** Holds the inodes of both names of a rename. Returns 0 or -ENFILE. */
  private holdRenamed(
    { argBytes, nameAt, secondNameAt }: Request,
    from: number,
    to: number,
    flags: number,
  ): number {
    const { held } = this
    const refused = held.holdMoved(from, argBytes, nameAt)
    if (refused < 0 || (flags & RENAME_NOREPLACE) !== 0) return refused
    return (flags & RENAME_EXCHANGE) !== 0
      ? held.holdMoved(to, argBytes, secondNameAt)
      : held.holdRemoved(to, argBytes, secondNameAt)
  }
}
