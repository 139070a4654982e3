import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_GETATTR_FH,
} from '../abi.js'
import { EBADF, EFBIG, EINVAL, EISDIR, EROFS } from '../errno.js'
import { ARGS, type Request } from '../request.js'
import { GetattrIn, SetattrIn } from '../wire/attr.js'
import { StatfsOut } from '../wire/statfs.js'
import { wrong } from './attributes.js'
import { andThen, named } from './calls.js'
import { statOf } from './found-nodes.js'
import type { AttributeChanges, FsNode, Room } from './node.js'
import { nodeOf, type TreeParts } from './parts.js'

const NSEC_PER_SEC = 1_000_000_000n
const DIRECTORY = 0o04
const REGULAR = 0o10
const NAME_MAX_BYTES = 255
const BLOCK_BYTES = 4096

/** Attributes of nodes and of the file system. */
export class TreeAttributes {
  private readonly counts = new DataView(new ArrayBuffer(40))

  constructor(private readonly on: TreeParts) {}

  getattr(request: Request): number {
    const { calls, replies } = this.on
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const byHandle = (GetattrIn.flags(request.args, ARGS) & FUSE_GETATTR_FH) !== 0
    return calls.run(
      request,
      'stat',
      byHandle ? this.handleOf(GetattrIn.handle(request.args, ARGS)) : undefined,
      (call) => statOf(known.node, call),
      (attributes, to) => replies.attr(to, known, attributes),
    )
  }

  statx(request: Request): number {
    const { calls, replies } = this.on
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    return calls.run(
      request,
      'stat',
      undefined,
      (call) => statOf(known.node, call),
      (attributes, to) => replies.statx(to, known, attributes),
    )
  }

  setattr(request: Request): number {
    const { calls, replies } = this.on
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.setattr === undefined) return -EROFS
    const changes = changesOf(request)
    if (typeof changes === 'number') return changes
    if (changes.size !== undefined && known.type === DIRECTORY) return -EISDIR
    if (changes.size !== undefined && known.type !== REGULAR) return -EINVAL
    const byHandle = (SetattrIn.valid(request.args, ARGS) & FATTR_FH) !== 0
    return calls.run(
      request,
      'setattr',
      byHandle ? this.handleOf(SetattrIn.handle(request.args, ARGS)) : undefined,
      (call) =>
        andThen((node.setattr as NonNullable<FsNode['setattr']>)(changes, call), () =>
          named('stat', () => statOf(node, call)),
        ),
      (attributes, to) => replies.attr(to, known, attributes),
    )
  }

  statfs(request: Request): number {
    const { calls, tree } = this.on
    return calls.run<Room | undefined>(
      request,
      'statfs',
      undefined,
      (call) => tree.statfs?.(call),
      (room, to) => {
        const said = room ?? {}
        if (typeof said !== 'object') wrong('the answer', said, 'an object')
        const { freeBlocks = 0 } = said
        const numbers = [
          said.blocks ?? 0,
          freeBlocks,
          said.availableBlocks ?? freeBlocks,
          said.files ?? 0,
          said.freeFiles ?? 0,
        ]
        numbers.forEach((number, n) => {
          if (!Number.isSafeInteger(number) || number < 0)
            wrong('a number of blocks or files', number, '0 or more')
          this.counts.setUint32(8 * n, number % 0x1_0000_0000, true)
          this.counts.setUint32(8 * n + 4, Math.floor(number / 0x1_0000_0000), true)
        })
        const { blockSize = BLOCK_BYTES } = said
        if (!Number.isInteger(blockSize) || blockSize < 1 || blockSize >= 2 ** 32)
          wrong('blockSize', blockSize, 'a number of bytes')
        StatfsOut.write(to.reply, 0, this.counts, 0, blockSize, NAME_MAX_BYTES, blockSize)
        return StatfsOut.BYTES
      },
    )
  }

  syncfs(request: Request): number {
    const { calls, tree } = this.on
    return calls.run<void>(
      request,
      'sync',
      undefined,
      (call) => tree.sync?.(call),
      () => 0,
    )
  }

  private handleOf(handle: number): unknown {
    return this.on.opens.get(handle)?.handle
  }
}

/** Returns the changes of a SETATTR, or a negative errno. */
function changesOf({ args }: Request): AttributeChanges | number {
  const valid = SetattrIn.valid(args, ARGS)
  const changes: { -readonly [K in keyof AttributeChanges]: AttributeChanges[K] } = {}
  if ((valid & FATTR_MODE) !== 0) changes.mode = SetattrIn.mode(args, ARGS) & 0o7777
  if ((valid & FATTR_UID) !== 0) changes.uid = SetattrIn.uid(args, ARGS)
  if ((valid & FATTR_GID) !== 0) changes.gid = SetattrIn.gid(args, ARGS)
  if ((valid & FATTR_SIZE) !== 0) changes.size = SetattrIn.sizeBytes(args, ARGS)
  if (changes.size === -1) return -EFBIG
  if ((valid & FATTR_ATIME) !== 0) {
    const now = (valid & FATTR_ATIME_NOW) !== 0
    const time = timeOf(now, SetattrIn.atimeSec(args, ARGS), SetattrIn.atimeNsec(args, ARGS))
    if (time === undefined) return -EINVAL
    changes.atimeNs = time
  }
  if ((valid & FATTR_MTIME) !== 0) {
    const now = (valid & FATTR_MTIME_NOW) !== 0
    const time = timeOf(now, SetattrIn.mtimeSec(args, ARGS), SetattrIn.mtimeNsec(args, ARGS))
    if (time === undefined) return -EINVAL
    changes.mtimeNs = time
  }
  return changes
}

function timeOf(now: boolean, sec: number, nsec: number): bigint | undefined {
  if (now) return BigInt(Date.now()) * 1_000_000n
  if (!Number.isSafeInteger(sec) || nsec >= NSEC_PER_SEC) return undefined
  return BigInt(sec) * NSEC_PER_SEC + BigInt(nsec)
}
