import {
  ARGS,
  CopyFileRangeIn,
  CreateIn,
  EDQUOT,
  ENOENT,
  EntryOut,
  FATTR_SIZE,
  FallocateIn,
  type FileSystem,
  LinkIn,
  OpenFlag,
  OpenIn,
  OpenOut,
  type Operation,
  PENDING_REPLY,
  ReleaseIn,
  Rename2In,
  RenameIn,
  type Request,
  SetattrIn,
  SetxattrIn,
  StatfsOut,
  Statx,
  type StatxWords,
  WriteIn,
} from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { AsyncIo } from '../files/async-io.js'
import type { Handles } from '../files/handles.js'
import type { HeldFd } from '../files/held-fd.js'
import { OpenFile } from '../files/open-file.js'
import { wantsAppend } from '../files/open-flags.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { STATX_MASK, statxIdentity, statxIsDirectory } from '../inodes/statx.js'
import { countTree, type TreeCount } from './count-tree.js'
import type { CountedInode } from './counted-inode.js'
import { QuotaLedger, type QuotaLimits } from './quota-ledger.js'

const {
  AT_SYMLINK_NOFOLLOW,
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_PUNCH_HOLE,
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
} = native.constants
/** These free room, or move what is there. */
const FREEING = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE
const NAME_BYTES = 512
/** No file has data there. */
const BEHIND_THE_END = 2 ** 52

/** The most files without a name that one HandedQuota carries. */
const MOST_ORPHANS = 1000
const UNKNOWN: TreeCount = { bytes: 0, inodes: 0, unread: 0 }

/** The counts, for another process that goes on with them. If there are more orphans, others follow with the same counts. */
export interface HandedQuota {
  readonly usedBytes: number
  readonly usedInodes: number
  readonly orphans: readonly { readonly identity: string; readonly bytes: number; readonly slot: number }[]
}

/** The parts of the share that these operations use. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly async: AsyncIo
}

/** Counts what a guest adds and removes, around the operations of a file system. */
export class QuotaOperations {
  readonly ledger: QuotaLedger
  /** False until the counts of another process have come, if they are to come. */
  isCounted: boolean
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly ownSt = new Int32Array(Statx.WORDS)
  private readonly sourceSt = new Int32Array(Statx.WORDS)
  private readonly bySlot = new Map<number, CountedInode>()

  constructor(
    private readonly share: Share,
    limits: QuotaLimits,
    private readonly rootFd: number,
    /** True: the counts come from another process. */
    comeCounted: boolean,
  ) {
    const count = comeCounted ? UNKNOWN : countTree(rootFd)
    this.isCounted = !comeCounted
    this.ledger = new QuotaLedger(limits, count, (inode, st) => this.stat(inode, st))
    share.inodes.onRelease = (slot) => this.forgotten(slot)
    share.async.onChanged = (file, bytes) => this.changeEnded(file, bytes)
  }

  /** Counts the tree anew, and with it what the host has changed. The guest waits meanwhile. */
  recount(): void {
    this.ledger.recounted(countTree(this.rootFd))
  }

  /** The counts, for the process that goes on. */
  *handed(): Generator<HandedQuota> {
    const { ledger } = this
    ledger.settle()
    const { usedBytes, usedInodes } = ledger
    const orphans = ledger.orphans.map(({ identity, bytes, slot }) => ({ identity, bytes, slot }))
    for (let at = 0; at === 0 || at < orphans.length; at += MOST_ORPHANS)
      yield { usedBytes, usedInodes, orphans: orphans.slice(at, at + MOST_ORPHANS) }
  }

  /** Goes on from what another process has counted. The guest's inodes and open files are taken over already. */
  adopt({ usedBytes, usedInodes, orphans }: HandedQuota): void {
    const { ledger, share } = this
    this.isCounted = true
    ledger.usedBytes = usedBytes
    ledger.usedInodes = usedInodes
    for (const [, file] of share.files.entries()) this.inodeOfFile(file)
    for (const { identity, bytes, slot } of orphans) {
      const inode = ledger.take(identity)
      inode.isOrphan = true
      inode.bytes = bytes
      this.know(inode, slot)
    }
  }

  /** Puts this object around the operations that change what the tree holds. */
  wrap(fs: FileSystem): void {
    const around = (name: keyof FileSystem, wrapped: (request: Request, inner: Operation) => number) => {
      const inner = fs[name] as Operation | undefined
      if (inner !== undefined)
        Object.assign(fs, { [name]: (request: Request) => wrapped.call(this, request, inner) })
    }
    around('write', this.write)
    around('fallocate', this.fallocate)
    around('copyFileRange', this.copy)
    around('copyFileRange64', this.copy)
    around('setattr', this.setattr)
    around('setxattr', this.setxattr)
    around('open', this.open)
    around('create', this.create)
    around('tmpfile', this.tmpfile)
    around('release', this.release)
    for (const name of ['mknod', 'mkdir', 'symlink'] as const) around(name, this.make)
    around('link', this.link)
    around('unlink', this.remove)
    around('rmdir', this.remove)
    around('rename', (request, inner) =>
      this.rename(request, inner, RenameIn.newDirectory(request.args, ARGS), 0),
    )
    around('rename2', (request, inner) =>
      this.rename(
        request,
        inner,
        Rename2In.newDirectory(request.args, ARGS),
        Rename2In.flags(request.args, ARGS),
      ),
    )
    around('statfs', this.statfs)
    const destroy = fs.destroy.bind(fs)
    fs.destroy = () => {
      // Changes in flight are measured, too: their files are closed afterwards.
      this.share.async.drain()
      this.ledger.settle()
      destroy()
      this.ledger.endSession()
      this.bySlot.clear()
    }
  }

  private write(request: Request, inner: Operation): number {
    const { args } = request
    const file = this.share.files.get(WriteIn.handle(args, ARGS))
    if (file === undefined) return inner(request)
    const lenBytes = WriteIn.sizeBytes(args, ARGS)
    const offsetBytes = WriteIn.offsetBytes(args, ARGS)
    // Appended data lies behind the end, whatever the offset of the request.
    const isAppended = wantsAppend(WriteIn.flags(args, ARGS)) || file.isAppendOnly
    return this.change(request, inner, file, isAppended ? BEHIND_THE_END : offsetBytes, lenBytes)
  }

  private fallocate(request: Request, inner: Operation): number {
    const { args } = request
    const file = this.share.files.get(FallocateIn.handle(args, ARGS))
    if (file === undefined) return inner(request)
    const frees = (FallocateIn.mode(args, ARGS) & FREEING) !== 0
    const offsetBytes = FallocateIn.offsetBytes(args, ARGS)
    return this.change(request, inner, file, offsetBytes, frees ? 0 : FallocateIn.lenBytes(args, ARGS))
  }

  private copy(request: Request, inner: Operation): number {
    const { args } = request
    const { files } = this.share
    const from = files.get(CopyFileRangeIn.inHandle(args, ARGS))
    const to = files.get(CopyFileRangeIn.outHandle(args, ARGS))
    if (from === undefined || to === undefined || native.fstatx(from.fd, STATX_MASK, this.st) < 0)
      return inner(request)
    const leftBytes = Math.max(0, Statx.sizeBytes(this.st) - CopyFileRangeIn.inOffsetBytes(args, ARGS))
    const wanted = CopyFileRangeIn.lenBytes(args, ARGS)
    const lenBytes = Math.min(wanted < 0 ? leftBytes : wanted, leftBytes)
    const outBytes = CopyFileRangeIn.outOffsetBytes(args, ARGS)
    const room = this.ledger.roomFor(to.fd, outBytes, lenBytes)
    if (room === 0 && lenBytes > 0) return -EDQUOT
    if (room < lenBytes) CopyFileRangeIn.writeLenBytes(args, ARGS, room)
    return this.change(request, inner, to, outBytes, room)
  }

  /** Carries out a change of an open file that may need room for `lenBytes`. */
  private change(
    request: Request,
    inner: Operation,
    file: OpenFile,
    offsetBytes: number,
    lenBytes: number,
  ): number {
    const { ledger } = this
    const inode = this.inodeOfFile(file)
    ledger.begin(inode)
    const refused = lenBytes > 0 ? ledger.admit(file.fd, offsetBytes, lenBytes) : 0
    if (refused < 0) return refused
    const { async } = this.share
    async.growthBytes = lenBytes
    const result = inner(request)
    async.growthBytes = -1
    if (result === PENDING_REPLY) {
      file.pendingChanges++
      ledger.pending(lenBytes)
    } else {
      ledger.grew(inode, lenBytes)
    }
    return result
  }

  /** A change in the background has ended. */
  private changeEnded(file: HeldFd, lenBytes: number): void {
    if (!(file instanceof OpenFile)) return
    const inode = this.inodeOfFile(file)
    this.ledger.ended(inode, lenBytes)
    if (--file.pendingChanges === 0 && file.isReleased) this.closed(file, inode)
  }

  /** A file is closed, and nothing changes it any more. */
  private closed(file: OpenFile, inode: CountedInode): void {
    this.ledger.measure(inode)
    inode.files.delete(file)
    this.ledger.letGo(inode)
  }

  private setattr(request: Request, inner: Operation): number {
    if ((SetattrIn.valid(request.args, ARGS) & FATTR_SIZE) === 0) return inner(request)
    return this.touch(request.nodeid, 0, () => inner(request))
  }

  private setxattr(request: Request, inner: Operation): number {
    const refused = this.ledger.admitName(0)
    if (refused < 0) return refused
    return this.touch(request.nodeid, SetxattrIn.sizeBytes(request.args, ARGS), () => inner(request))
  }

  private open(request: Request, inner: Operation): number {
    const empties = (OpenIn.flags(request.args, ARGS) & OpenFlag.O_TRUNC) !== 0
    const result = empties ? this.touch(request.nodeid, 0, () => inner(request)) : inner(request)
    if (result === OpenOut.BYTES) this.opened(OpenOut.handle(request.reply, 0))
    return result
  }

  private create(request: Request, inner: Operation): number {
    const isThere = this.statChild(request.nodeid, request, request.nameAt, this.st)
    const refused = isThere ? 0 : this.ledger.admitName(1)
    if (refused < 0) return refused
    const empties = isThere && (CreateIn.flags(request.args, ARGS) & OpenFlag.O_TRUNC) !== 0
    const before = empties ? this.knownInode(this.st) : undefined
    if (before !== undefined) this.ledger.begin(before)
    const result = this.touch(request.nodeid, isThere ? 0 : NAME_BYTES, () => inner(request))
    if (before !== undefined) this.ledger.grew(before, 0)
    if (result !== EntryOut.BYTES + OpenOut.BYTES) return result
    if (!isThere) this.madeBy(request, false)
    this.opened(OpenOut.handle(request.reply, EntryOut.BYTES))
    return result
  }

  private tmpfile(request: Request, inner: Operation): number {
    const refused = this.ledger.admitName(1)
    if (refused < 0) return refused
    const result = inner(request)
    if (result !== EntryOut.BYTES + OpenOut.BYTES) return result
    this.madeBy(request, true)
    this.opened(OpenOut.handle(request.reply, EntryOut.BYTES))
    return result
  }

  private make(request: Request, inner: Operation): number {
    const refused = this.ledger.admitName(1)
    if (refused < 0) return refused
    const result = this.touch(request.nodeid, NAME_BYTES, () => inner(request))
    if (result === EntryOut.BYTES) this.madeBy(request, false)
    return result
  }

  private link(request: Request, inner: Operation): number {
    const refused = this.ledger.admitName(0)
    if (refused < 0) return refused
    const slot = this.share.inodes.slotOf(LinkIn.oldNodeid(request.args, ARGS))
    const result = this.touch(request.nodeid, NAME_BYTES, () => inner(request))
    const inode = this.bySlot.get(slot)
    // A file that O_TMPFILE made gets its first name.
    if (result >= 0 && inode !== undefined) inode.isOrphan = false
    return result
  }

  private release(request: Request, inner: Operation): number {
    const file = this.share.files.get(ReleaseIn.handle(request.args, ARGS))
    const inode = file?.counted
    if (file !== undefined) file.isReleased = true
    if (file?.pendingChanges === 0 && inode !== undefined) this.closed(file, inode)
    return inner(request)
  }

  private remove(request: Request, inner: Operation): number {
    const isThere = this.statChild(request.nodeid, request, request.nameAt, this.st)
    const result = this.touch(request.nodeid, 0, () => inner(request))
    if (result === 0 && isThere) this.nameGone(this.st)
    return result
  }

  private rename(request: Request, inner: Operation, newNodeid: number, flags: number): number {
    const { st, sourceSt } = this
    const isThere = this.statChild(newNodeid, request, request.secondNameAt, st)
    const replaces =
      isThere &&
      (flags & RENAME_EXCHANGE) === 0 &&
      this.statChild(request.nodeid, request, request.nameAt, sourceSt) &&
      statxIdentity(st) !== statxIdentity(sourceSt)
    const leaves = (flags & RENAME_WHITEOUT) !== 0 ? 1 : 0
    const refused = leaves > 0 ? this.ledger.admitName(leaves) : 0
    if (refused < 0) return refused
    const slot = isThere ? 0 : this.share.inodes.slotOf(newNodeid)
    const result = this.ledger.rename(slot === 0 ? undefined : this.inodeOf(slot), () =>
      this.touch(newNodeid, NAME_BYTES, () => inner(request)),
    )
    if (result !== 0) return result
    if (replaces) this.nameGone(st)
    this.ledger.usedInodes += leaves
    return result
  }

  private statfs(request: Request, inner: Operation): number {
    const result = inner(request)
    if (result !== StatfsOut.BYTES) return result
    const { ledger } = this
    ledger.settle()
    const { limits, usedBytes, usedInodes } = ledger
    if (limits.bytes !== undefined) StatfsOut.limitBlocks(request.reply, 0, limits.bytes, usedBytes)
    if (limits.inodes !== undefined) StatfsOut.limitFiles(request.reply, 0, limits.inodes, usedInodes)
    return result
  }

  /** Carries out what may change the size of an inode that need not be open. */
  private touch(nodeid: number, bytes: number, work: () => number): number {
    const slot = this.share.inodes.slotOf(nodeid)
    if (slot === 0) return work()
    const inode = this.inodeOf(slot)
    this.ledger.begin(inode)
    const result = work()
    this.ledger.grew(inode, bytes)
    return result
  }

  /** The last name of a file is gone, or one of several. */
  private nameGone(st: StatxWords): void {
    if (!statxIsDirectory(st) && Statx.nlink(st) > 1) return
    this.ledger.removed(this.knownInode(st), st)
  }

  /** The inode of these attributes, if the guest knows it or has it open. */
  private knownInode(st: StatxWords): CountedInode | undefined {
    const known = this.ledger.find(statxIdentity(st))
    if (known !== undefined) return known
    const slot = this.share.inodes.slotFor(st)
    return slot === 0 ? undefined : this.inodeOf(slot)
  }

  /** Stats a name of a directory. Returns false if there is none. */
  private statChild(nodeid: number, request: Request, at: number, st: StatxWords): boolean {
    const { inodes } = this.share
    const slot = inodes.slotOf(nodeid)
    const fd = slot === 0 ? -1 : inodes.fdOf(slot)
    return fd >= 0 && native.statx(fd, request.argBytes, at, AT_SYMLINK_NOFOLLOW, STATX_MASK, st) === 0
  }

  /** Counts the new inode of an entry reply. */
  private madeBy({ reply }: Request, isOrphan: boolean): void {
    const slot = this.share.inodes.slotOf(EntryOut.nodeid(reply, 0))
    if (slot === 0) return
    const inode = this.inodeOf(slot)
    inode.isOrphan = isOrphan
    this.ledger.made(inode)
  }

  private opened(handle: number): void {
    const file = this.share.files.get(handle)
    if (file !== undefined) this.inodeOfFile(file)
  }

  private inodeOfFile(file: OpenFile): CountedInode {
    if (file.counted !== undefined) return file.counted
    native.fstatx(file.fd, STATX_MASK, this.st)
    const identity = statxIdentity(this.st)
    const inode = this.ledger.take(identity)
    file.counted = inode
    inode.files.add(file)
    this.know(inode, this.share.inodes.slotOf(file.nodeid))
    return inode
  }

  private inodeOf(slot: number): CountedInode {
    const { inodes } = this.share
    const known = this.bySlot.get(slot)
    if (known !== undefined) return known
    const { ownSt } = this
    const identity = inodes.stat(slot, ownSt) === 0 ? statxIdentity(ownSt) : `gone ${inodes.idOf(slot)}`
    const inode = this.ledger.take(identity)
    this.know(inode, slot)
    return inode
  }

  /** The guest knows the inode by this slot; 0: by none. */
  private know(inode: CountedInode, slot: number): void {
    if (slot === 0 || inode.slot === slot) return
    if (inode.slot !== 0) this.bySlot.delete(inode.slot)
    inode.slot = slot
    this.bySlot.set(slot, inode)
  }

  private stat(inode: CountedInode, st: StatxWords): number {
    const [file] = inode.files
    if (file !== undefined) return native.fstatx(file.fd, STATX_MASK, st)
    return inode.slot === 0 ? -ENOENT : this.share.inodes.stat(inode.slot, st)
  }

  /** The guest has forgotten an inode. */
  private forgotten(slot: number): void {
    const inode = this.bySlot.get(slot)
    if (inode === undefined) return
    this.ledger.measure(inode)
    this.bySlot.delete(slot)
    inode.slot = 0
    this.ledger.letGo(inode)
  }
}
