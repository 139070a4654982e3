/** The interface for writing a file system: a tree of nodes. */

/** A value, or a promise of it. */
export type Awaitable<T> = T | PromiseLike<T>

/** A result that a method may omit. */
// biome-ignore lint/suspicious/noConfusingVoidType: a method that returns nothing is one that returns void
export type OrNothing<T> = T | undefined | void

/** The type of a node. */
export type NodeType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'character-device'
  | 'block-device'

/**
 * Attributes of a node. Every field may be left out. A `Stats` or `BigIntStats` of `node:fs` is also accepted. The first
 * form of a time that is present counts: nanoseconds, milliseconds, Date.
 */
export interface Attributes {
  /** Default: from `mode`, else from the node's methods (`readlink`: symlink; `readdir` or `lookup`: directory). */
  readonly type?: NodeType
  /** Permission bits, optionally with type bits. Default 0755 for a directory, 0777 for a link, else 0644. */
  readonly mode?: number | bigint
  /** In bytes. Default 0. */
  readonly size?: number | bigint
  /** Default 1, or 2 for a directory. */
  readonly nlink?: number | bigint
  /** Default 0. */
  readonly uid?: number | bigint
  readonly gid?: number | bigint
  /** Default: a number chosen by this package, constant for an object, or for its key. */
  readonly ino?: number | bigint
  /** For a device: its number in the form of stat(2). */
  readonly rdev?: number | bigint
  /** In units of 512 bytes. Default: computed from `size`. */
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
  /** Default: not sent. */
  readonly birthtimeNs?: bigint
  readonly birthtimeMs?: number | bigint
  readonly birthtime?: Date
  /** How long the guest may cache these attributes, and the name. Default: the options of the service. */
  readonly attrTimeoutSec?: number
  readonly entryTimeoutSec?: number
  /** For tests of kernels: a new generation makes the guest take the node for another one. Default 0. */
  readonly generation?: number
}

/** Requested changes of a node. */
export interface AttributeChanges {
  /** Permission bits. */
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** In bytes. Data beyond it is lost, and added bytes read as zeros. */
  readonly size?: number
  readonly atimeNs?: bigint
  readonly mtimeNs?: bigint
}

/** The caller of a method, and a signal that ends its wait. */
export interface Context {
  /** User of the process in the guest. 0xffffffff if its kernel does not tell. */
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Aborted when the answer is no longer needed: the guest has gone, or its queue stops. */
  readonly signal: AbortSignal
}

/** The context of a call through an open file. */
export interface FileContext extends Context {
  /** The `handle` that `open` returned. Undefined if the request names no open file. */
  readonly handle: unknown
}

/** The result of `open`. */
export interface Opened {
  /** Passed to later calls as `context.handle`. */
  readonly handle?: unknown
  /** FOPEN_DIRECT_IO: the guest does not cache the file's data. */
  readonly directIo?: boolean
  /** FOPEN_PARALLEL_DIRECT_WRITES: with `directIo`, writes that do not extend the file may overlap. */
  readonly parallelDio?: boolean
  /** FOPEN_KEEP_CACHE: the guest's cached data of the file is still valid. */
  readonly keepCache?: boolean
  /** FOPEN_NONSEEKABLE, FOPEN_STREAM: the file has no positions. */
  readonly nonseekable?: boolean
  readonly stream?: boolean
  /** FOPEN_NOFLUSH: the guest need not report each close. */
  readonly noflush?: boolean
  /** FOPEN_CACHE_DIR, for a directory: the guest may cache the listing. */
  readonly cacheListing?: boolean
}

/** One entry of a directory. */
export interface DirectoryEntry {
  readonly name: string
  /** Its node, if it is at hand. `lookup` is then not called for it. */
  readonly node?: FsNode
  /** Default: the node's type, or unknown. */
  readonly type?: NodeType
}

/**
 * A file, directory or link. One object is one inode: return the same object for each name of a file, or give its objects
 * the same `key`. A missing method gets the guest an errno that programs know (EROFS for changes, EOPNOTSUPP for extended
 * attributes).
 *
 * To answer with an errno, throw (or reject with) an error whose `code` is its name, such as 'ENOENT'. Any other error is
 * logged with its stack, and the guest gets EIO.
 */
export interface FsNode {
  /** Nodes with equal keys are one inode. The methods of the first object that the guest saw are called. */
  readonly key?: string | number | bigint

  stat?(context: FileContext): Awaitable<Attributes>
  setattr?(changes: AttributeChanges, context: FileContext): Awaitable<void>

  /** For directories. `undefined`: no such name. Default: searches the result of `readdir`. */
  lookup?(name: string, context: Context): Awaitable<FsNode | undefined | null>
  /** Entries without "." and "..". Called once per listing. The result is kept until the guest has read it. */
  readdir?(context: FileContext): Awaitable<Iterable<string | DirectoryEntry>>
  /** Makes a regular file, which is opened next. */
  create?(name: string, attributes: { mode: number }, context: Context): Awaitable<FsNode>
  mkdir?(name: string, attributes: { mode: number }, context: Context): Awaitable<FsNode>
  /** Makes a fifo, socket or device. `mode` includes the type bits. */
  mknod?(name: string, attributes: { mode: number; rdev: number }, context: Context): Awaitable<FsNode>
  symlink?(name: string, target: string, context: Context): Awaitable<FsNode>
  /** Adds a name to a node of this file system. */
  link?(name: string, node: FsNode, context: Context): Awaitable<void>
  /** Removes a name. The node stays usable while the guest has it open. */
  unlink?(name: string, context: Context): Awaitable<void>
  rmdir?(name: string, context: Context): Awaitable<void>
  /** Replaces the node of `newName`. `exchange`: both names change places. `noReplace`: EEXIST if `newName` exists. */
  rename?(
    name: string,
    newParent: FsNode,
    newName: string,
    flags: { noReplace: boolean; exchange: boolean },
    context: Context,
  ): Awaitable<void>

  /** For links. */
  readlink?(context: Context): Awaitable<string>

  /** For files and directories. `flags` as of open(2), such as constants.O_RDWR of `node:fs`. */
  open?(flags: number, context: Context): Awaitable<OrNothing<Opened>>
  /** After the last close, and for each file that is open when the guest leaves. */
  release?(context: FileContext): Awaitable<void>
  /** Returns up to `length` bytes from `position` on, and fewer only at the end of the file. */
  read?(position: number, length: number, context: FileContext): Awaitable<Uint8Array>
  /** Returns the bytes written, or nothing for all. `data` may be kept. */
  write?(position: number, data: Uint8Array, context: FileContext): Awaitable<OrNothing<number>>
  /** Called at each close of a descriptor in the guest. */
  flush?(context: FileContext): Awaitable<void>
  fsync?(context: FileContext & { readonly dataOnly: boolean }): Awaitable<void>
  /** `mode` as of fallocate(2). */
  fallocate?(position: number, length: number, mode: number, context: FileContext): Awaitable<void>
  /** Returns the next position of data or of a hole. Throws ENXIO if there is none. */
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

  /** The guest has forgotten the node: no name, no open file. Called for each node that it knows when it leaves, too. */
  forget?(): void
}

/** Space of a file system, in blocks of `blockSize` bytes (default 4096). */
export interface Room {
  readonly blockSize?: number
  readonly blocks?: number
  readonly freeBlocks?: number
  /** Default: freeBlocks. */
  readonly availableBlocks?: number
  readonly files?: number
  readonly freeFiles?: number
}

/** A complete file system: its root and its global methods. */
export interface FileTree {
  readonly root: FsNode
  statfs?(context: Context): Awaitable<Room>
  /** Writes everything back: syncfs(2) in the guest. */
  sync?(context: Context): Awaitable<void>
  /** A guest has mounted it. */
  mounted?(): void
  /** The guest has left. `release` and `forget` have been called for its open handles and known nodes. */
  unmounted?(): void
}
