import type { OpenRules } from '../io-mode/open-rules.js'
import type { FileHandleUse } from './inodes/file-handle-use.js'
import type { XattrRule } from './xattrs/xattr-map.js'

/** What a passthrough file system is told. */
export interface PassthroughOptions {
  /** The directory to serve. */
  readonly directory: string
  /** O_PATH on /proc/self/fd: how an O_PATH descriptor is opened for use. Stays the caller's. */
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
  /** Descriptors that this share may hold, of files and inodes together. */
  readonly fdLimit: number
  /** Inodes that the guest may hold at a time. */
  readonly inodeLimit: number
  /** A lock may be waited for so long; undefined: for ever. */
  readonly lockTimeoutMs: number | undefined
  readonly fileHandles: FileHandleUse
  /** Serve extended attributes where the host has them; under which names. Undefined: under their own. */
  readonly xattr: boolean
  readonly xattrMap: readonly XattrRule[] | undefined
  /** Specifications as of `--translate-uid` and `--translate-gid`. */
  readonly translateUid: readonly string[]
  readonly translateGid: readonly string[]
  /** Tells of what the guest has caused; `kind` comes from a fixed set. */
  report(kind: string, fields: object): void
}
