import type { InitAgreement } from './negotiation.js'
import type { Carrier, Request } from './request.js'

/**
 * One operation. Returns the bytes of its reply at `request.reply`, a negative errno, or NO_REPLY, IN_PLACE,
 * PENDING_REPLY or POSTPONED. Never throws because of a guest's bytes.
 */
export type Operation = (request: Request) => number

/** Looks up the objects behind the guest's ids, for rules, traces and statistics. */
export interface Introspection {
  /** The path below the root, without a leading slash. Undefined for a node without a name. */
  pathOf(nodeid: number): string | undefined
  /** The present size in bytes, or -1. */
  sizeOf(nodeid: number): number
  /** The FOPEN flags of an open file, or 0 for an unknown handle. */
  openFlagsOf(handle: number): number
}

/** Work that continues between requests, for operations that returned PENDING_REPLY. */
export interface Background {
  /** The engine that waits for the host in place of the caller's thread: "io_uring" or "threads". For the log. */
  readonly engine: string
  /** These become readable when `progress` can finish a task. */
  readonly fds: readonly number[]
  /** Called after each batch of requests: starts its tasks and answers finished ones. Returns true if it answered any. */
  progress(): boolean
  /** Milliseconds until `progress` has work without an event, or -1 for never. */
  nextDueMs(): number
  /** Returns when nothing is under way. */
  drain(): void
  /** Has everything under way end soon, without waiting for it. Returns true if nothing is. Absent: nothing ever is. */
  hurry?(): boolean
  /**
   * Returns true when the host carries nothing out any more, or false if that takes longer than until `untilMs` of
   * `performance.now()`, and then everything goes on. Absent: nothing is ever carried out in the background.
   */
  settle?(untilMs: number): boolean
  /** Forgets requests that wait for anything else: they are served again from their beginning. */
  forget?(): void
  /** True if no more tasks may begin until one ends. */
  readonly isFull: boolean
  /** True if other threads are working on a task: a busy loop could take the processor from them. */
  readonly isWorking: boolean
}

/**
 * A file system for a guest to mount. A missing operation is answered with ENOSYS, and for some opcodes the kernel then
 * stops asking. The lengths of fixed-size arguments have been checked, and each name is one valid component.
 */
export interface FileSystem {
  /** A new session begins with this agreement. `destroy` has dropped everything of an earlier session. */
  init(agreement: InitAgreement): void
  /** The session has ended: drop every inode, handle and lock. Idempotent. */
  destroy(): void

  /** LOOKUP also gets the name ".", by which Windows' driver asks for the root. Otherwise it is refused. */
  readonly findsItself?: boolean

  /** For a file system that also waits for descriptors. */
  readonly background?: Background

  /** True if no more requests may begin until one that is under way has been answered. */
  readonly isFull?: boolean

  /** Answers a deferred request at once: it can wait no longer. */
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
