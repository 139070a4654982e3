import type { CacheChoices, InitOverride } from 'virtio-fs-ts/protocol'
import type { FaultSpec } from '../inspect/fault-spec.js'
import type { OpenRule } from '../io-mode/open-rules.js'
import type { FileHandleUse } from '../passthrough/inodes/file-handle-use.js'
import type { FileSystemModule } from './load-file-system.js'

/** Never; where guest and host can; or else not at all. */
export const needs = ['never', 'auto', 'always'] as const
export type Need = (typeof needs)[number]

/** Everything that one share is told. Plain data: it crosses to the thread that serves the share. */
export interface ShareConfig extends CacheChoices {
  /** Or a file, which then is alone in the share. */
  readonly directory: string
  /** The name of a file that is shared alone; undefined: a directory is shared. */
  readonly file: string | undefined
  /** Serves what a module makes; undefined: serves `directory`. */
  readonly fileSystem: FileSystemModule | undefined
  /** True if `directory` was given, and does not stand in for one. */
  readonly givesDirectory: boolean
  /** Empty when the listening socket was inherited and has no path. */
  readonly socketPath: string
  /** A listening socket that was inherited; undefined: one is bound at the path. */
  readonly inheritedFd: number | undefined
  /** The group that may connect too; undefined: the owner alone. */
  readonly socketGid: number | undefined
  /** Undefined: the front-end names the share. */
  readonly tag: string | undefined
  readonly allowMmap: boolean
  /** The guest may set set-user-id and set-group-id bits of files, and file capabilities. */
  readonly allowSuid: boolean
  /** The guest may make device nodes. */
  readonly allowDev: boolean
  /** The guest may change project ids, and whether they are inherited. */
  readonly allowProjectIds: boolean
  readonly allowDirectIo: boolean
  readonly preserveNoatime: boolean
  readonly writeback: boolean
  readonly readonly: boolean
  /** Extended attributes, and under which names: rules as of `--xattrmap`. */
  readonly xattr: boolean
  readonly xattrMap: string | undefined
  readonly posixAcl: Need
  readonly securityLabel: Need
  readonly killprivV2: boolean
  readonly posixLocks: boolean
  readonly flock: boolean
  /** A lock may be waited for so long; undefined: for ever. */
  readonly lockTimeoutSec: number | undefined
  readonly exportSupport: boolean
  readonly announceSubmounts: boolean
  readonly fileHandles: FileHandleUse
  readonly inodeLimit: number
  /** Who of the guest is who on the host: specifications as of `--translate-uid`. */
  readonly translateUid: readonly string[]
  readonly translateGid: readonly string[]
  /** False: READDIRPLUS is not offered where the cache mode would. */
  readonly readdirplus: boolean
  /** Choices for some files, the first that applies counts. */
  readonly rules: readonly OpenRule[]
  /** Count overlap and latencies from the start. */
  readonly inspect: boolean
  /** Faults in force from the start, opcodes answered with ENOSYS, and what replaces the outcome of INIT. */
  readonly faults: readonly FaultSpec[]
  readonly withhold: readonly number[]
  readonly initOverride: InitOverride
  /** Faults may send replies that break the protocol. */
  readonly unsafeFaults: boolean
  /** The file that every request is recorded in; undefined: none. It ends at so many bytes, and another begins. */
  readonly trace: string | undefined
  readonly traceBytes: number
  /** The longest spin before the thread sleeps, in microseconds; 0: never. */
  readonly pollUs: number
  /** Listen again when a front-end has left. */
  readonly keepAlive: boolean
}
