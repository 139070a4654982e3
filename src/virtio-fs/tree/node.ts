/** What somebody writes who has a file system of their own: a tree of nodes. */

/** A value, or a promise of it. */
export type Awaitable<T> = T | PromiseLike<T>

/** What a method may also leave unsaid. */
// biome-ignore lint/suspicious/noConfusingVoidType: a method that returns nothing is one that returns void
export type OrNothing<T> = T | undefined | void

/** What a node is. */
export type NodeType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'character-device'
  | 'block-device'

/**
 * Attributes of a node. Every field may be left out; a `Stats` or `BigIntStats` of `node:fs` is one, too. Of a time, the
 * first that is there counts: nanoseconds, milliseconds, Date.
 */
export interface Attributes {
  /** Default: as `mode` says, else as the node's methods say (`readlink`: symlink; `readdir` or `lookup`: directory). */
  readonly type?: NodeType
  /** Permission bits, and the type's bits if they are there. Default 0755 for a directory, 0777 for a link, else 0644. */
  readonly mode?: number | bigint
  /** In bytes. Default 0. */
  readonly size?: number | bigint
  /** Default 1, of a directory 2. */
  readonly nlink?: number | bigint
  /** Default 0. */
  readonly uid?: number | bigint
  readonly gid?: number | bigint
  /** Default: a number that this package chooses and that stays the node's as long as the guest knows the node. */
  readonly ino?: number | bigint
  /** Of a device, as stat(2) has it. */
  readonly rdev?: number | bigint
  /** In units of 512 bytes. Default: as `size` says. */
  readonly blocks?: number | bigint
  /** Default 4096. */
  readonly blksize?: number | bigint
  readonly mtimeNs?: bigint
  readonly mtimeMs?: number | bigint
  readonly mtime?: Date
  /** Default: mtime. */
  readonly atimeNs?: bigint
  readonly atimeMs?: number | bigint
  readonly atime?: Date
  /** Default: mtime. */
  readonly ctimeNs?: bigint
  readonly ctimeMs?: number | bigint
  readonly ctime?: Date
  /** Default: not told. */
  readonly birthtimeNs?: bigint
  readonly birthtimeMs?: number | bigint
  readonly birthtime?: Date
  /** How long the guest may believe these attributes, and that the name stands for the node. Default: as served. */
  readonly attrTimeoutSec?: number
  readonly entryTimeoutSec?: number
  /** For tests of kernels: another generation makes the guest take the node for another. Default 0. */
  readonly generation?: number
}

/** What is to change of a node. */
export interface AttributeChanges {
  /** Permission bits. */
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** In bytes: what is cut off is lost, what is added reads as zeros. */
  readonly size?: number
  readonly atimeNs?: bigint
  readonly mtimeNs?: bigint
}

/** Who asks, and for how long. */
export interface Context {
  /** Of the process in the guest. 0xffffffff where its kernel does not tell. */
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Aborted when the answer is wanted no more: the guest has gone, or its queue stops. */
  readonly signal: AbortSignal
}

/** The same for what is done through an open file. */
export interface FileContext extends Context {
  /** What `open` returned as `handle`. Undefined when the request names no open file. */
  readonly handle: unknown
}

/** What an open file is. */
export interface Opened {
  /** Comes back as `context.handle`. */
  readonly handle?: unknown
  /** FOPEN_DIRECT_IO: the guest does not cache the file's data. */
  readonly directIo?: boolean
  /** FOPEN_PARALLEL_DIRECT_WRITES: with `directIo`, writes that do not extend the file may overlap. */
  readonly parallelDio?: boolean
  /** FOPEN_KEEP_CACHE: what the guest has cached of the file is still good. */
  readonly keepCache?: boolean
  /** FOPEN_NONSEEKABLE, FOPEN_STREAM: the file has no positions. */
  readonly nonseekable?: boolean
  readonly stream?: boolean
  /** FOPEN_NOFLUSH: the guest need not tell of each close. */
  readonly noflush?: boolean
  /** FOPEN_CACHE_DIR, of a directory: the guest may cache the listing. */
  readonly cacheListing?: boolean
}

/** One entry of a directory. */
export interface DirectoryEntry {
  readonly name: string
  /** What it stands for, if that is at hand: then `lookup` is not asked for it. */
  readonly node?: FsNode
  /** Default: unknown, or the node's. */
  readonly type?: NodeType
}

/**
 * A file, directory or link. One object stands for one inode: return the same object whenever a name stands for the same
 * file, or give both the same `key`. Methods that are missing are refused in a way that programs know (EROFS for changes,
 * EOPNOTSUPP for extended attributes).
 *
 * A method throws, or rejects, with an error whose `code` is the name of an errno, such as 'ENOENT', to have it answered.
 * Any other error is logged with its stack, and the guest gets EIO.
 */
export interface FsNode {
  /** Nodes with equal keys are one inode: the first object that the guest came to know is the one that is asked. */
  readonly key?: string | number | bigint

  stat?(context: FileContext): Awaitable<Attributes>
  setattr?(changes: AttributeChanges, context: FileContext): Awaitable<void>

  /** Directories. `undefined`: there is no such name. Default: looks for it in what `readdir` returns. */
  lookup?(name: string, context: Context): Awaitable<FsNode | undefined | null>
  /** Without "." and "..". Asked once for each listing: what it returns is kept until the guest has read it. */
  readdir?(context: FileContext): Awaitable<Iterable<string | DirectoryEntry>>
  /** Makes a regular file; it is opened next. */
  create?(name: string, attributes: { mode: number }, context: Context): Awaitable<FsNode>
  mkdir?(name: string, attributes: { mode: number }, context: Context): Awaitable<FsNode>
  /** Makes a fifo, socket or device: `mode` has the type's bits. */
  mknod?(name: string, attributes: { mode: number; rdev: number }, context: Context): Awaitable<FsNode>
  symlink?(name: string, target: string, context: Context): Awaitable<FsNode>
  /** Gives a node of this file system one more name. */
  link?(name: string, node: FsNode, context: Context): Awaitable<void>
  /** Takes a name away. The node lives on while the guest has it open. */
  unlink?(name: string, context: Context): Awaitable<void>
  rmdir?(name: string, context: Context): Awaitable<void>
  /** Replaces what `newName` stands for. `exchange`: both names change places. `noReplace`: EEXIST when there is one. */
  rename?(
    name: string,
    newParent: FsNode,
    newName: string,
    flags: { noReplace: boolean; exchange: boolean },
    context: Context,
  ): Awaitable<void>

  /** Links. */
  readlink?(context: Context): Awaitable<string>

  /** Files and directories. `flags` as of open(2), such as constants.O_RDWR of `node:fs`. */
  open?(flags: number, context: Context): Awaitable<OrNothing<Opened>>
  /** After the last close. */
  release?(context: FileContext): Awaitable<void>
  /** Up to `length` bytes from `position` on; fewer only at the end of the file. */
  read?(position: number, length: number, context: FileContext): Awaitable<Uint8Array>
  /** Returns how many bytes were written; nothing for all. `data` is the method's own. */
  write?(position: number, data: Uint8Array, context: FileContext): Awaitable<OrNothing<number>>
  /** At each close of a descriptor in the guest. */
  flush?(context: FileContext): Awaitable<void>
  fsync?(context: FileContext & { readonly dataOnly: boolean }): Awaitable<void>
  /** `mode` as of fallocate(2). */
  fallocate?(position: number, length: number, mode: number, context: FileContext): Awaitable<void>
  /** The next position with data, or of a hole. ENXIO when there is none. */
  seek?(position: number, what: 'data' | 'hole', context: FileContext): Awaitable<number>

  getxattr?(name: string, context: Context): Awaitable<Uint8Array | undefined | null>
  listxattr?(context: Context): Awaitable<Iterable<string>>
  setxattr?(
    name: string,
    value: Uint8Array,
    flags: { create: boolean; replace: boolean },
    context: Context,
  ): Awaitable<void>
  removexattr?(name: string, context: Context): Awaitable<void>

  /** The guest knows the node no more: no name, no open file. Not called when the guest leaves: see `FileTree`. */
  forget?(): void
}

/** Room on a file system, in blocks of `blockSize` bytes (default 4096). */
export interface Room {
  readonly blockSize?: number
  readonly blocks?: number
  readonly freeBlocks?: number
  /** Default: freeBlocks. */
  readonly availableBlocks?: number
  readonly files?: number
  readonly freeFiles?: number
}

/** A file system of one's own: its root, and what concerns all of it. */
export interface FileTree {
  readonly root: FsNode
  statfs?(context: Context): Awaitable<Room>
  /** Writes everything back: syncfs(2) in the guest. */
  sync?(context: Context): Awaitable<void>
  /** A guest has mounted it. */
  mounted?(): void
  /** The guest has gone: it knows no node and has no file open any more. */
  unmounted?(): void
}
