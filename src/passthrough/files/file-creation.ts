import {
  ARGS,
  CreateIn,
  EACCES,
  EBADF,
  EEXIST,
  ENFILE,
  ENOENT,
  EntryOut,
  EPERM,
  ESTALE,
  OpenOut,
  type Request,
  Statx,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { descriptorError } from '../descriptors.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { TYPE_DIRECTORY } from '../inodes/inode-table.js'
import type { RemovedByHost } from '../inodes/removed-by-host.js'
import { STATX_MASK } from '../inodes/statx.js'
import { removeMadeName } from '../names/made-name.js'
import type { NameOpener } from '../names/name-opener.js'
import type { Caller } from '../owners/caller.js'
import { refusalOfMode } from '../owners/refused-modes.js'
import type { PassthroughOptions } from '../passthrough-options.js'
import type { Replies } from '../replies.js'
import type { SecurityLabels } from '../xattrs/security-labels.js'
import { type FileOpener, postponedByLease } from './file-opener.js'
import type { Handles } from './handles.js'
import { NO_FD, type OpenFile } from './open-file.js'
import { hostOpenFlags } from './open-flags.js'

const { O_CREAT, O_DIRECT, O_EXCL, O_PATH, O_TMPFILE, O_TRUNC } = native.constants

const PERMISSIONS = 0o7777

/** 68 years. */
const FOR_EVER_SEC = 0x7fff_ffff

const dot = new TextEncoder().encode('.\0')

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly files: Handles<OpenFile>
  readonly opener: NameOpener
  readonly caller: Caller
  readonly labels: SecurityLabels
  readonly budget: FdBudget
  readonly replies: Replies
  readonly removed: RemovedByHost
  readonly options: PassthroughOptions
}

/** Makes regular files. */
export class FileCreation {
  /** Attributes of the file that a request makes or finds by name. */
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(
    private readonly share: Share,
    private readonly fileOpener: FileOpener,
  ) {}

  /**
   * FUSE_CREATE: makes the file as the caller, or opens the existing one. Reply: entry_out, open_out. Errors: ESTALE if
   * the name is not a regular file.
   */
  create(request: Request): number {
    const { args, argBytes, nameAt } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.begin(request, mode)
    if (parentFd < 0) return parentFd
    // The creator owns a new file, so O_NOATIME is allowed. The file is empty, so O_TRUNC does nothing.
    const wanted = hostOpenFlags(guestFlags, this.share.options) & ~O_TRUNC
    const flags = (wanted & ~O_DIRECT) | O_CREAT | O_EXCL
    const fd = this.share.opener.open(parentFd, argBytes, nameAt, flags, mode)
    this.share.caller.leave()
    const parent = this.share.inodes.slotOf(request.nodeid)
    if (fd === -EEXIST && (guestFlags & O_EXCL) === 0) return this.openExisting(request, parent, guestFlags)
    if (fd === -ENOENT && this.share.removed.isDirectoryGone(parent, parentFd)) return -ESTALE
    if (fd < 0) return descriptorError(fd)
    const slot = this.share.finder.adoptMade(fd, parentFd, argBytes, nameAt, this.st)
    const result = this.replyNew(request, parent, slot, fd, wanted, guestFlags)
    if (result >= 0) return result
    // A file that cannot be labelled or opened as requested is removed again.
    removeMadeName(fd, this.share.inodes.fdOf(parent), argBytes, nameAt, 0)
    native.close(fd)
    return result
  }

  /**
   * FUSE_TMPFILE: makes a nameless file in a directory, as the caller. Reply: entry_out, open_out. Linux keeps it as "/" in that
   * directory. This name is valid for ever, since no LOOKUP finds the file by it: the overlayfs of Linux 6.1 refers by it to
   * what it has copied.
   */
  tmpfile(request: Request): number {
    const { args } = request
    const mode = CreateIn.mode(args, ARGS) & PERMISSIONS
    const guestFlags = CreateIn.flags(args, ARGS)
    const parentFd = this.begin(request, mode)
    if (parentFd < 0) return parentFd
    // With O_EXCL the file never gets a name.
    const wanted = hostOpenFlags(guestFlags, this.share.options) & ~O_TRUNC
    const flags = (wanted & ~O_DIRECT) | (guestFlags & O_EXCL) | O_TMPFILE
    const fd = native.openat(parentFd, dot, 0, flags, mode)
    this.share.caller.leave()
    if (fd < 0) return descriptorError(fd)
    const pathFd = native.inodeOpen(this.share.options.procFd, fd, O_PATH)
    const slot = pathFd < 0 ? descriptorError(pathFd) : this.share.finder.adopt(pathFd, this.st)
    const parent = this.share.inodes.slotOf(request.nodeid)
    const result = this.replyNew(request, parent, slot, fd, wanted, guestFlags)
    if (result < 0) native.close(fd)
    else EntryOut.writeEntryTimeout(request.replyWords, 0, FOR_EVER_SEC)
    return result
  }

  /** Becomes the caller. Returns the descriptor of the directory for the new file, or a negative errno. */
  private begin(request: Request, mode: number): number {
    const { share } = this
    const refused = refusalOfMode(share.options, mode)
    if (refused < 0) return refused
    const parent = share.inodes.slotOf(request.nodeid)
    if (parent === 0 || share.inodes.typeOf(parent) !== TYPE_DIRECTORY) return -EBADF
    // One descriptor for the file, one for its O_DIRECT and one for its inode.
    if (!share.inodes.fds.makeRoom() || share.budget.left < 3) return -ENFILE
    const parentFd = share.inodes.fdOf(parent)
    if (parentFd < 0) return parentFd
    const entered = share.caller.enter(request, CreateIn.umask(request.args, ARGS))
    return entered < 0 ? entered : parentFd
  }

  /** Takes over `fd`, a new file, if it succeeds. `slot` is its inode, or the errno of the attempt to get one. */
  private replyNew(
    request: Request,
    parent: number,
    slot: number,
    fd: number,
    flags: number,
    guestFlags: number,
  ): number {
    const { share } = this
    const labelled = slot < 0 ? slot : share.labels.labelNew(request, slot)
    const directFd = labelled < 0 || (flags & O_DIRECT) === 0 ? NO_FD : this.openDirect(slot, flags)
    const error = labelled < 0 ? labelled : directFd < 0 && directFd !== NO_FD ? directFd : 0
    if (error < 0) {
      if (slot > 0) share.inodes.unref(slot, 1)
      return error
    }
    return this.replyCreate(request, parent, slot, this.fileOpener.adopt(slot, fd, directFd, guestFlags))
  }

  /**
   * Opens a new file with O_DIRECT. Returns NO_FD if the file's mode keeps this process from opening it again. That is no
   * error: the file's maker goes through the page cache instead.
   */
  private openDirect(slot: number, flags: number): number {
    const fd = this.fileOpener.openInode(slot, flags)
    return fd === -EACCES || fd === -EPERM ? NO_FD : fd
  }

  private openExisting(request: Request, parent: number, guestFlags: number): number {
    const { share } = this
    const slot = share.finder.lookup(parent, request.argBytes, request.nameAt, this.st)
    if (slot < 0) return slot
    const flags = hostOpenFlags(guestFlags, share.options)
    const openFlags = CreateIn.openFlags(request.args, ARGS)
    const file = this.fileOpener.open(request, slot, flags, guestFlags, openFlags)
    if (typeof file === 'number') {
      share.inodes.unref(slot, 1)
      // The name is a link or fifo that the guest did not know. ESTALE makes it look the name up again.
      return file === -EBADF ? -ESTALE : postponedByLease(file)
    }
    // Emptying the file changed the size and times from the lookup. fstatx of an open file does not fail.
    if ((guestFlags & O_TRUNC) !== 0) native.fstatx(file.fd, STATX_MASK, this.st)
    return this.replyCreate(request, parent, slot, file)
  }

  private replyCreate(request: Request, parent: number, slot: number, file: OpenFile): number {
    this.share.replies.writeEntry(request, 0, slot, parent, this.st)
    OpenOut.write(request.reply, EntryOut.BYTES, this.share.files.add(file), file.openFlags)
    return EntryOut.BYTES + OpenOut.BYTES
  }
}
