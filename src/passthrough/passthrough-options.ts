import type { OpenRules } from '../io-mode/open-rules.js'
import type { FileHandleUse } from './inodes/file-handle-use.js'
import type { QuotaLimits } from './quota/quota-ledger.js'
import type { MigrationOptions } from './state/options.js'
import type { XattrRule } from './xattrs/xattr-map.js'

/** Options of a passthrough file system. */
export interface PassthroughOptions {
  /** The directory to serve. */
  readonly directory: string
  /** O_PATH on /proc/self/fd, for opening O_PATH descriptors. Stays the caller's. */
  readonly procFd: number
  readonly rules: OpenRules
  /** Keep the guest's O_DIRECT on the host's file. */
  readonly allowDirectIo: boolean
  /** The guest may set set-user-id and set-group-id bits of files, and file capabilities. */
  readonly allowSuid: boolean
  /** The guest may make device nodes. */
  readonly allowDev: boolean
  /** The guest may change project ids, and whether they are inherited. */
  readonly allowProjectIds: boolean
  /** Keep the guest's O_NOATIME on the host's file. */
  readonly preserveNoatime: boolean
  readonly writeback: boolean
  /** Most descriptors of this share, for files and inodes together: a number, or a word that any thread may change. */
  readonly fdLimit: number | Int32Array
  /** Most inodes that the guest may hold at a time. */
  readonly inodeLimit: number
  /** Longest wait for a lock. Undefined: for ever. */
  readonly lockTimeoutMs: number | undefined
  readonly fileHandles: FileHandleUse
  /** Serve extended attributes if the host has them, with this map of names. Undefined: names are unchanged. */
  readonly xattr: boolean
  readonly xattrMap: readonly XattrRule[] | undefined
  /** Specifications of `--translate-uid` and `--translate-gid`. */
  readonly translateUid: readonly string[]
  readonly translateGid: readonly string[]
  readonly migration: MigrationOptions
  /** The most threads that copy large reads beside this one; undefined: from the processors. */
  readonly threadPoolSize: number | undefined
  /** The quota of the tree; undefined: it is not counted. */
  readonly quota: QuotaLimits | undefined
  /** True: what the tree holds comes with the state of another process, and is not counted here. */
  readonly isCounted: boolean
  /** Reports a fault that the guest has caused. `kind` comes from a fixed set. */
  report(kind: string, fields: object): void
}
