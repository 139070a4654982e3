import type { InitAgreement } from './negotiation.js'
import type { Carrier, Request } from './request.js'

/**
 * One operation. Returns the bytes of its reply at `request.reply`, a negative errno, or NO_REPLY, IN_PLACE,
 * PENDING_REPLY or POSTPONED. Nothing throws because of what a guest sent.
 */
export type Operation = (request: Request) => number

/** What a file system can tell about what the guest's ids stand for, for rules, traces and statistics. */
export interface Introspection {
  /** The path below the root, without a leading slash; undefined for what has no name. */
  pathOf(nodeid: number): string | undefined
  /** The size in bytes now, or -1. */
  sizeOf(nodeid: number): number
  /** The FOPEN flags with which a file was opened; 0 for a handle that is not known. */
  openFlagsOf(handle: number): number
}

/** Work that goes on between requests: operations that returned PENDING_REPLY. */
export interface Background {
  /** Who waits for the host instead of the caller's thread: "io_uring" or "threads". For the log. */
  readonly engine: string
  /** Become readable when `progress` has something to finish. */
  readonly fds: readonly number[]
  /** Called after each batch of requests: starts what they began, answers what has finished. Returns true if it answered any. */
  progress(): boolean
  /** Milliseconds until `progress` has something to do by itself, -1 for never. */
  nextDueMs(): number
  /** Returns when nothing is under way any more. */
  drain(): void
  /** So much is under way that no more may be begun. */
  readonly isFull: boolean
  /** Threads of the kernel's or ours are at work on something: a spin could keep the processor from them. */
  readonly isWorking: boolean
}

/**
 * A file system that a guest mounts. An operation that is missing is answered with ENOSYS, which makes the kernel stop
 * asking for some of them. Fixed-size arguments have been checked for length, names for being one sound component.
 */
export interface FileSystem {
  /** A new session begins: what was agreed on. Whatever an earlier session left has been dropped by `destroy`. */
  init(agreement: InitAgreement): void
  /** The session has ended: every inode, handle and lock goes. Idempotent. */
  destroy(): void

  /** Needed by a file system that waits for descriptors beside its requests. */
  readonly background?: Background

  /** A request that was deferred can wait no longer: it is to be answered now, whatever it waits for. */
  cancel?(carrier: Carrier): void

  readonly introspection?: Introspection

  lookup?: Operation
  forget?: Operation
  batchForget?: Operation
  getattr?: Operation
  setattr?: Operation
  readlink?: Operation
  symlink?: Operation
  mknod?: Operation
  mkdir?: Operation
  unlink?: Operation
  rmdir?: Operation
  rename?: Operation
  rename2?: Operation
  link?: Operation
  open?: Operation
  read?: Operation
  write?: Operation
  statfs?: Operation
  release?: Operation
  fsync?: Operation
  setxattr?: Operation
  getxattr?: Operation
  listxattr?: Operation
  removexattr?: Operation
  flush?: Operation
  opendir?: Operation
  readdir?: Operation
  readdirplus?: Operation
  releasedir?: Operation
  fsyncdir?: Operation
  getlk?: Operation
  setlk?: Operation
  setlkw?: Operation
  access?: Operation
  create?: Operation
  ioctl?: Operation
  fallocate?: Operation
  lseek?: Operation
  copyFileRange?: Operation
  copyFileRange64?: Operation
  syncfs?: Operation
  tmpfile?: Operation
  statx?: Operation
}
