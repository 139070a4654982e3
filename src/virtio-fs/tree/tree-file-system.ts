import type { FileSystem, Introspection, Operation } from '../file-system.js'
import { HandleTable } from '../handle-table.js'
import { type InitAgreement, keepsNames } from '../negotiation.js'
import type { Carrier, Request } from '../request.js'
import { TreeAttributes } from './attribute-operations.js'
import { Calls, type Report } from './calls.js'
import { TreeDirectories } from './directories.js'
import { TreeFiles } from './files.js'
import { FoundNodes } from './found-nodes.js'
import { Listings } from './listings.js'
import { TreeNames } from './names.js'
import type { FileTree } from './node.js'
import { NodeTable } from './node-table.js'
import type { OpenNode, TreeParts } from './parts.js'
import type { TreePolicy } from './policy.js'
import { TreeReplies } from './replies.js'
import { TreeXattrs } from './xattrs.js'

export interface TreeOptions {
  /** The guest's caching policy. */
  readonly policy: TreePolicy
  /** Reports errors without an errno, and promises that do not settle. */
  readonly report: Report
  /** Time after which a request is answered with ETIMEDOUT. Default 0: never. */
  readonly methodTimeoutMs?: number
  /** The most nodes that the guest may know. Beyond it gets ENFILE. Default, and no more than: 4 million. */
  readonly nodeLimit?: number
}

/** They take about a gigabyte, and V8's heap has few. */
const MAX_NODES = 1 << 22

/** Serves a tree of nodes as a raw file system. Keeps ids, counts, handles and positions. */
export class TreeFileSystem implements FileSystem, Introspection {
  private readonly on: TreeParts
  private readonly names: TreeNames
  private readonly attributes: TreeAttributes
  private readonly files: TreeFiles
  private readonly directories: TreeDirectories
  readonly introspection: Introspection = this

  constructor(
    private readonly tree: FileTree,
    { policy, report, methodTimeoutMs = 0, nodeLimit = MAX_NODES }: TreeOptions,
  ) {
    const nodes = new NodeTable(Math.min(nodeLimit, MAX_NODES))
    const calls = new Calls(report, methodTimeoutMs, (nodeid) => nodes.pathOf(nodeid))
    const found = new FoundNodes(nodes, calls)
    this.on = {
      tree,
      nodes,
      found,
      policy,
      opens: new HandleTable<OpenNode>(),
      listings: new Listings(),
      calls,
      replies: new TreeReplies(nodes, found, policy),
    }
    this.names = new TreeNames(this.on)
    this.attributes = new TreeAttributes(this.on)
    this.files = new TreeFiles(this.on)
    this.directories = new TreeDirectories(this.on)
    // If the root has no extended attributes, no node has any: one ENOSYS makes the guest stop asking.
    if (tree.root.getxattr !== undefined) this.serveXattrs(new TreeXattrs(this.on))
  }

  readonly findsItself = true
  setxattr?: Operation
  getxattr?: Operation
  listxattr?: Operation
  removexattr?: Operation

  init(agreement: InitAgreement): void {
    this.on.replies.keepsAbsence = keepsNames(agreement)
    this.on.nodes.begin(this.tree.root)
    this.on.calls.notify('mounted', () => this.tree.mounted?.())
  }

  destroy(): void {
    const { calls, opens, listings, nodes } = this.on
    const wasMounted = nodes.count > 0
    calls.abandon()
    listings.clear()
    opens.clear((open) => calls.release(open.known.node, open))
    nodes.clear((node) => calls.notify('forget', () => node.forget?.()))
    if (wasMounted) calls.notify('unmounted', () => this.tree.unmounted?.())
  }

  get isFull(): boolean {
    return this.on.calls.isFull
  }

  cancel(carrier: Carrier): void {
    this.on.calls.cancel(carrier)
  }

  lookup = (request: Request) => this.names.lookup(request)
  forget = (request: Request) => this.names.forget(request)
  batchForget = (request: Request) => this.names.batchForget(request)
  readlink = (request: Request) => this.names.readlink(request)
  symlink = (request: Request) => this.names.symlink(request)
  mknod = (request: Request) => this.names.mknod(request)
  mkdir = (request: Request) => this.names.mkdir(request)
  unlink = (request: Request) => this.names.unlink(request)
  rmdir = (request: Request) => this.names.rmdir(request)
  rename = (request: Request) => this.names.rename(request)
  rename2 = (request: Request) => this.names.rename2(request)
  link = (request: Request) => this.names.link(request)

  getattr = (request: Request) => this.attributes.getattr(request)
  setattr = (request: Request) => this.attributes.setattr(request)
  statx = (request: Request) => this.attributes.statx(request)
  statfs = (request: Request) => this.attributes.statfs(request)
  syncfs = (request: Request) => this.attributes.syncfs(request)

  open = (request: Request) => this.files.open(request)
  create = (request: Request) => this.files.create(request)
  read = (request: Request) => this.files.read(request)
  write = (request: Request) => this.files.write(request)
  flush = (request: Request) => this.files.flush(request)
  release = (request: Request) => this.files.release(request)
  fsync = (request: Request) => this.files.fsync(request)
  fallocate = (request: Request) => this.files.fallocate(request)
  lseek = (request: Request) => this.files.lseek(request)

  opendir = (request: Request) => this.directories.opendir(request)
  readdir = (request: Request) => this.directories.readdir(request)
  readdirplus = (request: Request) => this.directories.readdirplus(request)
  releasedir = (request: Request) => this.files.release(request)
  fsyncdir = (request: Request) => this.files.fsync(request)

  pathOf(nodeid: number): string | undefined {
    return this.on.nodes.pathOf(nodeid)
  }

  /** Only the node knows its size, and may need time to tell it. */
  sizeOf(): number {
    return -1
  }

  openFlagsOf(handle: number): number {
    return this.on.opens.get(handle)?.openFlags ?? 0
  }

  private serveXattrs(xattrs: TreeXattrs): void {
    this.setxattr = (request) => xattrs.setxattr(request)
    this.getxattr = (request) => xattrs.getxattr(request)
    this.listxattr = (request) => xattrs.listxattr(request)
    this.removexattr = (request) => xattrs.removexattr(request)
  }
}
