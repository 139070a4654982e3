import { EBADF, EILSEQ, EINVAL, ENAMETOOLONG, ENOTDIR, EPERM, EROFS } from '../errno.js'
import { ARGS, NO_REPLY, type Request } from '../request.js'
import { BatchForgetIn, ForgetIn } from '../wire/forget.js'
import { LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn } from '../wire/names.js'
import { listed } from './attributes.js'
import { andThen, type Call } from './calls.js'
import type { Found } from './found-nodes.js'
import { MethodError } from './method-error.js'
import type { Awaitable, FsNode } from './node.js'
import type { KnownNode } from './node-table.js'
import { nodeOf, type TreeParts } from './parts.js'

const S_IFMT = 0o170000
const S_IFREG = 0o100000
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2

/** Longer targets do not fit into one page of the guest. */
const LINK_TARGET_MAX_BYTES = 4095

/** Types that MKNOD makes: fifos, devices, files and sockets. */
const NODE_TYPES = new Set([0o010000, 0o020000, 0o060000, S_IFREG, 0o140000])

const NOBODY = undefined
const DIRECTORY = 0o04

/** The node of a name in a directory, from `lookup` or else from the listing. */
export function childOf(parent: FsNode, name: string, call: Call): Awaitable<FsNode | undefined> {
  if (parent.lookup !== undefined) return andThen(parent.lookup(name, call), (node) => node ?? undefined)
  if (parent.readdir === undefined) return undefined
  return andThen(parent.readdir(call), (entries) => {
    for (const entry of listed(entries)) {
      const node = typeof entry === 'object' ? entry.node : undefined
      if ((typeof entry === 'object' ? entry.name : entry) !== name) continue
      if (node === undefined)
        throw new MethodError(
          'readdir',
          new TypeError(`lists '${name}' without its node, and there is no lookup`),
        )
      return node
    }
    return undefined
  })
}

/** Operations on names in directories. */
export class TreeNames {
  constructor(private readonly on: TreeParts) {}

  lookup(request: Request): number {
    const { calls, replies, found } = this.on
    const parent = nodeOf(this.on, request)
    if (parent === undefined) return -EBADF
    const name = request.name()
    if (name === undefined) return -EILSEQ
    return calls.run<Found | undefined>(
      request,
      'lookup',
      NOBODY,
      (call) =>
        andThen(name === '.' ? parent.node : childOf(parent.node, name, call), (node) =>
          node === undefined ? undefined : found.find('lookup', node, call),
        ),
      (child, to) => (child === undefined ? replies.noEntry(to) : replies.entry(to, child, parent, name)),
      (child) => child && found.drop(child),
      name,
    )
  }

  forget(request: Request): number {
    this.forgetOne(request.nodeid, ForgetIn.nlookup(request.args, ARGS))
    return NO_REPLY
  }

  batchForget(request: Request): number {
    const { args } = request
    const room = Math.floor(request.payloadBytes(BatchForgetIn.BYTES) / BatchForgetIn.ONE_BYTES)
    const count = Math.min(BatchForgetIn.count(args, ARGS), room)
    for (let n = 0; n < count; n++)
      this.forgetOne(BatchForgetIn.nodeid(args, ARGS, n), BatchForgetIn.nlookup(args, ARGS, n))
    return NO_REPLY
  }

  readlink(request: Request): number {
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.readlink === undefined) return -EINVAL
    return this.on.calls.run(
      request,
      'readlink',
      NOBODY,
      (call) => (node.readlink as NonNullable<FsNode['readlink']>)(call),
      (target, to) => {
        if (typeof target !== 'string') throw new TypeError(`returned ${typeof target}, not a string`)
        const bytes = Buffer.from(target)
        if (bytes.length === 0 || bytes.length > LINK_TARGET_MAX_BYTES || bytes.includes(0))
          throw new TypeError(`returned a target of ${bytes.length} bytes, or with a NUL`)
        return to.replyData(bytes) ? to.replyInPlace(bytes.length) : -EINVAL
      },
    )
  }

  symlink(request: Request): number {
    const target = request.secondName()
    if (target === undefined) return -EILSEQ
    // No guest could read it back.
    if (Buffer.byteLength(target) > LINK_TARGET_MAX_BYTES) return -ENAMETOOLONG
    return this.make(request, 'symlink', EPERM, (parent, name, call) => parent.symlink?.(name, target, call))
  }

  mkdir(request: Request): number {
    const mode = MkdirIn.mode(request.args, ARGS) & 0o7777
    return this.make(request, 'mkdir', EROFS, (parent, name, call) => parent.mkdir?.(name, { mode }, call))
  }

  mknod(request: Request): number {
    const mode = MknodIn.mode(request.args, ARGS) & 0xffff
    if (!NODE_TYPES.has(mode & S_IFMT)) return -EINVAL
    const rdev = MknodIn.rdev(request.args, ARGS)
    const isFile = (mode & S_IFMT) === S_IFREG
    const method = isFile ? 'create' : 'mknod'
    return this.make(request, method, isFile ? EROFS : EPERM, (parent, name, call) =>
      isFile
        ? parent.create?.(name, { mode: mode & 0o7777 }, call)
        : parent.mknod?.(name, { mode, rdev }, call),
    )
  }

  link(request: Request): number {
    const { nodes } = this.on
    const linked = nodes.get(LinkIn.oldNodeid(request.args, ARGS))
    if (linked === undefined) return -EBADF
    if (linked.type === DIRECTORY) return -EPERM
    return this.make(request, 'link', EPERM, (parent, name, call) =>
      parent.link === undefined
        ? undefined
        : andThen(parent.link(name, linked.node, call), () => linked.node),
    )
  }

  unlink(request: Request): number {
    return this.remove(request, 'unlink')
  }

  rmdir(request: Request): number {
    return this.remove(request, 'rmdir')
  }

  rename(request: Request): number {
    return this.renameTo(request, RenameIn.newDirectory(request.args, ARGS), 0)
  }

  rename2(request: Request): number {
    const flags = Rename2In.flags(request.args, ARGS)
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0 || flags === 3) return -EINVAL
    return this.renameTo(request, Rename2In.newDirectory(request.args, ARGS), flags)
  }

  /** Makes a named node, which also counts as its lookup. `missing` is the errno if the method is missing. */
  private make(
    request: Request,
    method: 'symlink' | 'mkdir' | 'mknod' | 'create' | 'link',
    missing: number,
    start: (parent: FsNode, name: string, call: Call) => Awaitable<FsNode> | undefined,
  ): number {
    const { calls, replies, found } = this.on
    const parent = nodeOf(this.on, request)
    if (parent === undefined) return -EBADF
    const name = request.name()
    if (name === undefined) return -EILSEQ
    if (parent.node[method] === undefined) return -missing
    return calls.run<Found>(
      request,
      method,
      NOBODY,
      (call) =>
        andThen(start(parent.node, name, call) as Awaitable<FsNode>, (node) => {
          if (method !== 'link') this.expectNew(method, node)
          return found.find(method, node, call)
        }),
      (made, to) => replies.entry(to, made, parent, name),
      (made) => found.drop(made),
      name,
    )
  }

  /** Throws if a node that was just made is already known to the guest. */
  private expectNew(method: string, node: FsNode): void {
    if (
      typeof node === 'object' &&
      node !== null &&
      this.on.nodes.known(node) !== undefined &&
      method !== 'create'
    )
      throw new TypeError(`returned a node that the guest knows already as ${this.nameOf(node)}`)
  }

  private nameOf(node: FsNode): string {
    const known = this.on.nodes.known(node) as KnownNode
    return `'${this.on.nodes.pathOf(known.id) ?? 'a node without a name'}'`
  }

  private remove(request: Request, method: 'unlink' | 'rmdir'): number {
    const { calls, nodes } = this.on
    const parent = nodeOf(this.on, request)
    if (parent === undefined) return -EBADF
    const name = request.name()
    if (name === undefined) return -EILSEQ
    const { node } = parent
    if (node[method] === undefined) return -EROFS
    return calls.run(
      request,
      method,
      NOBODY,
      (call) => node[method]?.(name, call),
      () => {
        nodes.removed(parent, name)
        return 0
      },
      undefined,
      name,
    )
  }

  private renameTo(request: Request, newDirectory: number, flags: number): number {
    const { calls, nodes } = this.on
    const parent = nodeOf(this.on, request)
    const newParent = nodes.get(newDirectory)
    if (parent === undefined || newParent === undefined) return -EBADF
    if (newParent.type !== DIRECTORY) return -ENOTDIR
    const name = request.name()
    const newName = request.secondName()
    if (name === undefined || newName === undefined) return -EILSEQ
    if (parent.node.rename === undefined) return -EROFS
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    const noReplace = (flags & RENAME_NOREPLACE) !== 0
    return calls.run(
      request,
      'rename',
      NOBODY,
      (call) => parent.node.rename?.(name, newParent.node, newName, { noReplace, exchange }, call),
      () => {
        nodes.moved(parent, name, newParent, newName, exchange)
        return 0
      },
      undefined,
      name,
    )
  }

  private forgetOne(nodeid: number, nlookup: number): void {
    if (nlookup === 0) return
    const count = nlookup < 0 ? Number.POSITIVE_INFINITY : nlookup
    this.on.calls.notify('forget', () => this.on.nodes.unref(nodeid, count))
  }
}
