import { constants } from 'node:fs'
import type {
  AttributeChanges,
  Attributes,
  Context,
  DirectoryEntry,
  FileContext,
  FileTree,
  FsNode,
  NodeType,
  Room,
} from './node.js'

const { S_IFDIR, S_IFMT, O_CREAT, O_EXCL, O_RDWR, O_TRUNC, O_APPEND } = constants

/** The methods of an open file that this adapter uses. */
export interface PromisesFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>
  stat(options: { bigint: true }): Promise<PromisesStats>
  truncate(length: number): Promise<void>
  chmod?(mode: number): Promise<void>
  chown?(uid: number, gid: number): Promise<void>
  utimes?(atimeSec: number, mtimeSec: number): Promise<void>
  sync?(): Promise<void>
  datasync?(): Promise<void>
  close(): Promise<void>
}

/** The attributes that this adapter uses: those of `node:fs`, as numbers or bigints. */
export interface PromisesStats extends Attributes {
  readonly dev?: number | bigint
  readonly ino: number | bigint
  readonly mode: number | bigint
}

interface PromisesDirent {
  // Text, because of the options passed.
  readonly name: unknown
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

/** The part of `node:fs/promises` that this adapter uses. memfs and ZenFS provide it, too. */
export interface PromisesFs {
  lstat(path: string, options: { bigint: true }): Promise<PromisesStats>
  // Entries, because of the options passed. The types of other packages also allow names.
  readdir(path: string, options: { withFileTypes: true }): Promise<readonly unknown[]>
  open(path: string, flags: number, mode?: number): Promise<PromisesFile>
  mkdir(path: string, mode: number): Promise<unknown>
  rmdir(path: string): Promise<void>
  unlink(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  link(from: string, to: string): Promise<void>
  symlink(target: string, path: string): Promise<void>
  // Text by default.
  readlink(path: string): Promise<unknown>
  chmod(path: string, mode: number): Promise<void>
  lchown(path: string, uid: number, gid: number): Promise<void>
  lutimes(path: string, atimeSec: number, mtimeSec: number): Promise<void>
  truncate(path: string, length: number): Promise<void>
  statfs?(path: string): Promise<{
    bsize: number | bigint
    blocks: number | bigint
    bfree: number | bigint
    bavail: number | bigint
    files: number | bigint
    ffree: number | bigint
  }>
}

export interface PromisesOptions {
  /** Gives new files to the guest user who makes them. Default: true if this process is root. */
  readonly owners?: boolean
}

/**
 * A tree for anything with the interface of `node:fs/promises`, from `root` on. It reaches files by path. To share a host
 * directory with a hostile guest, use the program virtiofsd-ts: its system calls do not leave the directory.
 */
export function fromPromises(fs: PromisesFs, root = '/', options: PromisesOptions = {}): FileTree {
  const owners = options.owners ?? process.getuid?.() === 0
  const from = new Origin(fs, owners)
  const node = new PathNode(from, undefined, root)
  const { statfs } = fs
  return {
    root: node,
    ...(statfs && { statfs: async (): Promise<Room> => roomOf(await statfs.call(fs, root)) }),
  }
}

/** One file system and its known nodes, by device and inode number. */
class Origin {
  private readonly known = new Map<string, PathNode>()

  constructor(
    readonly fs: PromisesFs,
    readonly owners: boolean,
  ) {}

  /** The node of a name. */
  async find(parent: PathNode, name: string): Promise<PathNode> {
    const stats = await this.fs.lstat(parent.pathTo(name), { bigint: true })
    const key = `${stats.dev ?? 0}:${stats.ino}`
    let node = this.known.get(key)
    if (node === undefined) {
      node = new PathNode(this, parent, name)
      node.key = key
      this.known.set(key, node)
    }
    node.place(parent, name)
    return node
  }

  /** Forgets a node, because another file may soon have its number. */
  drop(node: PathNode): void {
    if (this.known.get(node.key) === node) this.known.delete(node.key)
  }
}

class PathNode implements FsNode {
  key = 'root'
  /** Open files, with the number of the guest's handles of each. */
  private readonly files = new Map<PromisesFile, number>()
  /** The open file of a node that was made and not yet opened by the guest. */
  private made: PromisesFile | undefined
  private isGone = false

  /** Known names of the node. For a file with several links, these are the names that were looked up and still exist. */
  private readonly places = new Map<string, { readonly parent: PathNode; readonly name: string }>()

  constructor(
    private readonly from: Origin,
    private parent: PathNode | undefined,
    private name: string,
  ) {}

  place(parent: PathNode, name: string): void {
    this.parent = parent
    this.name = name
    this.places.set(`${parent.key}/${name}`, { parent, name })
  }

  /** A name was removed. If another name is known, it becomes the node's path. */
  unplace(parent: PathNode, name: string): void {
    this.places.delete(`${parent.key}/${name}`)
    const [other] = this.places.values()
    if (other !== undefined) this.place(other.parent, other.name)
  }

  get path(): string {
    return this.parent === undefined ? this.name : this.parent.pathTo(this.name)
  }

  pathTo(name: string): string {
    const { path } = this
    return path.endsWith('/') ? `${path}${name}` : `${path}/${name}`
  }

  async stat({ handle }: FileContext): Promise<Attributes> {
    const file = this.fileOf(handle)
    const bigint = { bigint: true } as const
    return plain(file === undefined ? await this.from.fs.lstat(this.path, bigint) : await file.stat(bigint))
  }

  async setattr(changes: AttributeChanges, context: FileContext): Promise<void> {
    const { fs } = this.from
    const { mode, uid, gid, size, atimeNs, mtimeNs } = changes
    const file = this.fileOf(context.handle)
    // A file without a name can only be reached through its open file.
    const open = this.isGone ? file : undefined
    if (mode !== undefined) await (open?.chmod?.(mode) ?? fs.chmod(this.path, mode))
    const now = await this.stat(context)
    if (uid !== undefined || gid !== undefined) {
      const [owner, group] = [uid ?? Number(now.uid ?? 0), gid ?? Number(now.gid ?? 0)]
      await (open?.chown?.(owner, group) ?? fs.lchown(this.path, owner, group))
    }
    if (size !== undefined) await (file === undefined ? fs.truncate(this.path, size) : file.truncate(size))
    if (atimeNs !== undefined || mtimeNs !== undefined) {
      const times = [secondsOf(atimeNs ?? now.atimeNs), secondsOf(mtimeNs ?? now.mtimeNs)] as const
      await (open?.utimes?.(...times) ?? fs.lutimes(this.path, ...times))
    }
  }

  lookup(name: string): Promise<FsNode> {
    return this.from.find(this, name)
  }

  async readdir(): Promise<DirectoryEntry[]> {
    const dirents = await this.from.fs.readdir(this.path, { withFileTypes: true })
    return dirents.map((dirent) => {
      // `withFileTypes` makes the result a list of entries.
      const entry = dirent as PromisesDirent
      const type = typeOf(entry)
      return { name: String(entry.name), ...(type && { type }) }
    })
  }

  async create(name: string, { mode }: { mode: number }, context: Context): Promise<FsNode> {
    const file = await this.from.fs.open(this.pathTo(name), O_CREAT | O_EXCL | O_RDWR, mode)
    const node = (await this.claim(name, context)) as PathNode
    node.made = file
    node.files.set(file, 1)
    return node
  }

  async mkdir(name: string, { mode }: { mode: number }, context: Context): Promise<FsNode> {
    await this.from.fs.mkdir(this.pathTo(name), mode)
    return this.claim(name, context)
  }

  async symlink(name: string, target: string, context: Context): Promise<FsNode> {
    await this.from.fs.symlink(target, this.pathTo(name))
    return this.claim(name, context)
  }

  async link(name: string, node: FsNode): Promise<void> {
    // The node belongs to this file system, so it is a PathNode.
    const linked = node as PathNode
    await this.from.fs.link(linked.path, this.pathTo(name))
    linked.place(this, name)
  }

  async unlink(name: string): Promise<void> {
    const node = await this.from.find(this, name)
    const isLast = await this.isLast(name)
    // Open handles of the node use their open file from now on.
    await this.from.fs.unlink(this.pathTo(name))
    node.lost(this, name, isLast)
  }

  async rmdir(name: string): Promise<void> {
    const node = await this.from.find(this, name)
    await this.from.fs.rmdir(this.pathTo(name))
    node.lost(this, name, true)
  }

  async rename(
    name: string,
    newParent: FsNode,
    newName: string,
    { noReplace, exchange }: { noReplace: boolean; exchange: boolean },
  ): Promise<void> {
    if (exchange) throw withCode('EINVAL', 'names cannot change places')
    const { fs } = this.from
    const to = newParent as PathNode
    const node = await this.from.find(this, name)
    const replaced = await this.from.find(to, newName).catch(() => undefined)
    if (noReplace && replaced !== undefined) throw withCode('EEXIST', newName)
    const isLast = replaced !== undefined && (await to.isLast(newName))
    await fs.rename(this.pathTo(name), to.pathTo(newName))
    if (replaced !== node) replaced?.lost(to, newName, isLast)
    node.unplace(this, name)
    node.place(to, newName)
  }

  async readlink(): Promise<string> {
    return String(await this.from.fs.readlink(this.path))
  }

  async open(flags: number): Promise<{ handle?: PromisesFile }> {
    if (this.made !== undefined) {
      const { made } = this
      this.made = undefined
      return { handle: made }
    }
    // A directory is read by its path.
    if ((flags & constants.O_DIRECTORY) !== 0) return {}
    const [kept] = this.isGone ? this.files.keys() : []
    if (kept !== undefined) {
      this.files.set(kept, (this.files.get(kept) ?? 0) + 1)
      return { handle: kept }
    }
    const file = await this.from.fs.open(this.path, flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_APPEND))
    this.files.set(file, 1)
    return { handle: file }
  }

  async release({ handle }: FileContext): Promise<void> {
    if (handle === undefined) return
    const file = handle as PromisesFile
    const left = (this.files.get(file) ?? 1) - 1
    if (left > 0) this.files.set(file, left)
    else this.files.delete(file)
    if (left === 0) await file.close()
  }

  async read(position: number, length: number, { handle }: FileContext): Promise<Uint8Array> {
    const buffer = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await (handle as PromisesFile).read(buffer, done, length - done, position + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return buffer.subarray(0, done)
  }

  async write(position: number, data: Uint8Array, { handle }: FileContext): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const file = handle as PromisesFile
      const { bytesWritten } = await file.write(data, done, data.length - done, position + done)
      done += bytesWritten
    }
  }

  async fsync({ handle, dataOnly }: FileContext & { dataOnly: boolean }): Promise<void> {
    const file = handle as PromisesFile | undefined
    await (dataOnly ? (file?.datasync?.() ?? file?.sync?.()) : file?.sync?.())
  }

  async forget(): Promise<void> {
    this.from.drop(this)
    const { made } = this
    if (made === undefined) return
    this.made = undefined
    this.files.delete(made)
    await made.close()
  }

  /** Returns true if removing the name removes the file. */
  private async isLast(name: string): Promise<boolean> {
    const { nlink, mode } = await this.from.fs.lstat(this.pathTo(name), { bigint: true })
    return Number(nlink ?? 1) <= 1 || (Number(mode) & S_IFMT) === S_IFDIR
  }

  /** A name was removed. If it was the last one, another file may soon have the node's number. */
  private lost(parent: PathNode, name: string, isLast: boolean): void {
    this.unplace(parent, name)
    if (!isLast) return
    this.isGone = true
    this.from.drop(this)
  }

  /** Gives a new file to the user who made it. */
  private async claim(name: string, { uid, gid }: Context): Promise<FsNode> {
    if (this.from.owners) await this.from.fs.lchown(this.pathTo(name), uid, gid)
    return this.from.find(this, name)
  }

  /** The open file for a call: the request's own, or any open file if the node has no name. */
  private fileOf(handle: unknown): PromisesFile | undefined {
    if (handle !== undefined) return handle as PromisesFile
    return this.isGone ? [...this.files.keys()][0] : undefined
  }
}

/** Copies attributes to plain fields, and uses nanoseconds for times where they exist. */
function plain(stats: PromisesStats): Attributes {
  const { mode, size, nlink, uid, gid, ino, rdev, blocks, blksize } = stats
  const { mtimeMs, atimeMs, ctimeMs, birthtimeMs } = stats
  const attributes: Record<string, unknown> = { mode, size, nlink, uid, gid, ino, rdev, blocks, blksize }
  Object.assign(attributes, { mtimeMs, atimeMs, ctimeMs, birthtimeMs })
  for (const name of ['mtimeNs', 'atimeNs', 'ctimeNs', 'birthtimeNs'] as const) {
    try {
      attributes[name] = stats[name]
    } catch {
      // ZenFS 2.7 computes them from milliseconds, and fails for fractions.
    }
  }
  return attributes
}

function typeOf(dirent: PromisesDirent): NodeType | undefined {
  if (dirent.isFile()) return 'file'
  if (dirent.isDirectory()) return 'directory'
  return dirent.isSymbolicLink() ? 'symlink' : undefined
}

function secondsOf(ns: bigint | undefined): number {
  return Number(ns ?? 0n) / 1e9
}

function withCode(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

type RoomSaid = Awaited<ReturnType<NonNullable<PromisesFs['statfs']>>>

function roomOf({ bsize, blocks, bfree, bavail, files, ffree }: RoomSaid): Room {
  const [blockSize, all, freeBlocks, availableBlocks, inodes, freeFiles] = [
    ...[bsize, blocks, bfree, bavail, files, ffree].map(Number),
  ] as [number, number, number, number, number, number]
  return { blockSize, blocks: all, freeBlocks, availableBlocks, files: inodes, freeFiles }
}
