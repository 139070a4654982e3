import { FUSE_FSYNC_FDATASYNC, FUSE_WRITE_KILL_SUIDGID } from '../abi.js'
import { EBADF, EFBIG, EILSEQ, EINVAL, EISDIR, ENFILE, ENOSYS, EOPNOTSUPP, EROFS } from '../errno.js'
import { MAX_WRITE_BYTES } from '../negotiation.js'
import { OpenFlag } from '../open-flags.js'
import { ARGS, type ReplyPlace, type Request } from '../request.js'
import { FallocateIn, LseekIn, LseekOut, ReadIn, WriteIn, WriteOut } from '../wire/data.js'
import { EntryOut } from '../wire/entry.js'
import { CreateIn, FlushIn, FsyncIn, OpenIn, OpenOut, ReleaseIn } from '../wire/open.js'
import { wrong } from './attributes.js'
import { andThen, type Call, isPromise, named } from './calls.js'
import { type Found, statOf } from './found-nodes.js'
import type { Awaitable, FsNode, Opened, OrNothing } from './node.js'
import type { KnownNode } from './node-table.js'
import { MAX_OPENS, nodeOf, type OpenNode, type TreeParts } from './parts.js'
import { filePolicyFlags, fopenFlags } from './policy.js'
import { dropPrivileges } from './privileges.js'

const DIRECTORY = 0o04
const SEEK_SET = 0
const SEEK_END = 2
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** The result of `open`. */
type Said = OrNothing<Opened>

/** Opens and closes files, and moves their data. */
export class TreeFiles {
  constructor(private readonly on: TreeParts) {}

  open(request: Request): number {
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    if (known.type === DIRECTORY) return -EISDIR
    const flags = OpenIn.flags(request.args, ARGS)
    if (writes(flags) && known.node.write === undefined) return -EROFS
    if (this.on.opens.count >= MAX_OPENS) return -ENFILE
    return this.on.calls.run<Said>(
      request,
      'open',
      undefined,
      (call) => known.node.open?.(flags, call),
      (said, to) => this.writeOpen(to, 0, known, flags, said),
      (said) => this.on.calls.release(known.node, said),
    )
  }

  create(request: Request): number {
    const { calls, replies, found } = this.on
    const parent = nodeOf(this.on, request)
    if (parent === undefined) return -EBADF
    const name = request.name()
    if (name === undefined) return -EILSEQ
    const { node } = parent
    if (node.create === undefined) return -EROFS
    if (this.on.opens.count >= MAX_OPENS) return -ENFILE
    const flags = CreateIn.flags(request.args, ARGS)
    const mode = CreateIn.mode(request.args, ARGS) & 0o7777
    return calls.run<{ made: Found; said: Said }>(
      request,
      'create',
      undefined,
      (call) =>
        andThen(node.create?.(name, { mode }, call) as Awaitable<FsNode>, (returned) =>
          andThen(found.find('create', returned, call), (made) => this.openMade(made, flags, call)),
        ),
      ({ made, said }, to) => {
        // This checks the open before a lookup is counted.
        fopenFlags(0, said ?? undefined)
        const known = replies.writeEntry(to.replyWords, 0, made, parent, name)
        this.writeOpen(to, EntryOut.BYTES, known, flags, said)
        return EntryOut.BYTES + OpenOut.BYTES
      },
      ({ made, said }) => {
        calls.release(made.node, said)
        found.drop(made)
      },
      name,
    )
  }

  /** Opens a file that was just made. */
  private openMade(made: Found, flags: number, call: Call): Awaitable<{ made: Found; said: Said }> {
    const { node } = made
    const fail = (error: unknown): never => {
      this.on.found.drop(made)
      throw error
    }
    try {
      const opened = named<Said>('open', () => node.open?.(flags & ~OpenFlag.O_TRUNC, call))
      if (!isPromise(opened)) return { made, said: opened }
      return opened.then((said) => ({ made, said }), fail)
    } catch (error) {
      return fail(error)
    }
  }

  read(request: Request): number {
    const { args } = request
    const open = this.on.opens.get(ReadIn.handle(args, ARGS))
    if (open === undefined) return -EBADF
    const { node } = open.known
    if (node.read === undefined) return open.known.type === DIRECTORY ? -EISDIR : -EINVAL
    const offsetBytes = ReadIn.offsetBytes(args, ARGS)
    // No file is that long.
    if (offsetBytes < 0) return request.replyInPlace(0)
    // A guest asks for no more; one that does gets no buffer of gigabytes.
    const lenBytes = Math.min(ReadIn.sizeBytes(args, ARGS), request.replyRoomBytes, MAX_WRITE_BYTES)
    return this.on.calls.run(
      request,
      'read',
      open.handle,
      (call) => node.read?.(offsetBytes, lenBytes, call),
      (data, to) => {
        if (!(data instanceof Uint8Array)) wrong('the answer', data, 'a Uint8Array')
        if (data.length > lenBytes) wrong('the length of the answer', data.length, `at most ${lenBytes}`)
        return to.replyData(data) ? to.replyInPlace(data.length) : -EINVAL
      },
    )
  }

  write(request: Request): number {
    const { args } = request
    const open = this.on.opens.get(WriteIn.handle(args, ARGS))
    if (open === undefined) return -EBADF
    const { node } = open.known
    if (node.write === undefined) return -EROFS
    const lenBytes = WriteIn.sizeBytes(args, ARGS)
    // More than was agreed on.
    if (lenBytes > MAX_WRITE_BYTES) return -EINVAL
    const offsetBytes = WriteIn.offsetBytes(args, ARGS)
    if (offsetBytes < 0 || !Number.isSafeInteger(offsetBytes + lenBytes)) return -EFBIG
    const data = request.payload(WriteIn.BYTES, lenBytes)
    if (data === undefined) return -EINVAL
    const drops = (WriteIn.writeFlags(args, ARGS) & FUSE_WRITE_KILL_SUIDGID) !== 0
    return this.on.calls.run<OrNothing<number>>(
      request,
      'write',
      open.handle,
      (call) =>
        drops
          ? andThen(dropPrivileges(node, call), () => node.write?.(offsetBytes, data, call))
          : node.write?.(offsetBytes, data, call),
      (said, to) => {
        const written = said ?? lenBytes
        if (!Number.isInteger(written) || written < 0 || written > lenBytes)
          wrong('the answer', written, `a number from 0 to ${lenBytes}`)
        WriteOut.write(to.reply, 0, written)
        return WriteOut.BYTES
      },
    )
  }

  flush(request: Request): number {
    const open = this.on.opens.get(FlushIn.handle(request.args, ARGS))
    if (open === undefined) return -EBADF
    return this.tell(request, open, 'flush', (node, call) => node.flush?.(call))
  }

  fsync(request: Request): number {
    const open = this.on.opens.get(FsyncIn.handle(request.args, ARGS))
    if (open === undefined) return -EBADF
    const dataOnly = (FsyncIn.fsyncFlags(request.args, ARGS) & FUSE_FSYNC_FDATASYNC) !== 0
    return this.tell(request, open, 'fsync', (node, call) => node.fsync?.(Object.assign(call, { dataOnly })))
  }

  /** FUSE_RELEASE and FUSE_RELEASEDIR. */
  release(request: Request): number {
    const open = this.on.opens.remove(ReleaseIn.handle(request.args, ARGS))
    if (open === undefined) return -EBADF
    this.on.listings.drop(open)
    return this.tell(request, open, 'release', (node, call) => node.release?.(call))
  }

  fallocate(request: Request): number {
    const { args } = request
    const open = this.on.opens.get(FallocateIn.handle(args, ARGS))
    if (open === undefined) return -EBADF
    if (open.known.node.fallocate === undefined) return -EOPNOTSUPP
    const offsetBytes = FallocateIn.offsetBytes(args, ARGS)
    const lenBytes = FallocateIn.lenBytes(args, ARGS)
    if (offsetBytes < 0 || lenBytes < 0 || !Number.isSafeInteger(offsetBytes + lenBytes)) return -EFBIG
    const mode = FallocateIn.mode(args, ARGS)
    return this.tell(request, open, 'fallocate', (node, call) =>
      node.fallocate?.(offsetBytes, lenBytes, mode, call),
    )
  }

  lseek(request: Request): number {
    const { args } = request
    const open = this.on.opens.get(LseekIn.handle(args, ARGS))
    if (open === undefined) return -EBADF
    const { node } = open.known
    const whence = LseekIn.whence(args, ARGS)
    if (whence === SEEK_SET) return toPosition(request, LseekIn.signedOffsetBytes(args, ARGS))
    if (whence === SEEK_END) return this.seekFromEnd(request, open)
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL
    // The guest's kernel then takes the whole file for data.
    if (node.seek === undefined) return -ENOSYS
    const offsetBytes = LseekIn.offsetBytes(args, ARGS)
    if (offsetBytes < 0) return -EINVAL
    return this.on.calls.run(
      request,
      'seek',
      open.handle,
      (call) => node.seek?.(offsetBytes, whence === SEEK_DATA ? 'data' : 'hole', call),
      (at, to) => {
        if (!Number.isSafeInteger(at) || (at as number) < offsetBytes)
          wrong('the answer', at, `a position from ${offsetBytes} on`)
        LseekOut.write(to.reply, 0, at as number)
        return LseekOut.BYTES
      },
    )
  }

  /** LSEEK by SEEK_END, which small systems send. Linux knows the end itself. */
  private seekFromEnd(request: Request, open: OpenNode): number {
    const { known, handle } = open
    const signedBytes = LseekIn.signedOffsetBytes(request.args, ARGS)
    return this.on.calls.run(
      request,
      'stat',
      handle,
      (call) => statOf(known.node, call),
      ({ size = 0 }, to) => toPosition(to, Number(size) + signedBytes),
    )
  }

  /** Calls a method without a result. */
  private tell(
    request: Request,
    open: OpenNode,
    method: string,
    start: (node: FsNode, call: Call) => Awaitable<void> | undefined,
  ): number {
    return this.on.calls.run<void>(
      request,
      method,
      open.handle,
      (call) => start(open.known.node, call),
      () => 0,
    )
  }

  private writeOpen(to: ReplyPlace, at: number, known: KnownNode, flags: number, said: Said): number {
    const { opens, policy, nodes } = this.on
    const path = policy.any ? nodes.pathOf(known.id) : undefined
    const opened = said ?? undefined
    const openFlags = fopenFlags(
      filePolicyFlags(policy.forOpen(path, flags).policy, known.node, flags),
      opened,
    )
    const handle = opens.add({ known, handle: opened?.handle, openFlags, listing: undefined })
    OpenOut.write(to.reply, at, handle, openFlags)
    return OpenOut.BYTES
  }
}

/** Replies to LSEEK. Errors: EINVAL for a position that is none. */
function toPosition(to: ReplyPlace, atBytes: number): number {
  if (!Number.isSafeInteger(atBytes) || atBytes < 0) return -EINVAL
  LseekOut.write(to.reply, 0, atBytes)
  return LseekOut.BYTES
}

function writes(flags: number): boolean {
  return (flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY
}
