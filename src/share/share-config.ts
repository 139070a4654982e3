import type { CacheChoices, InitOverride } from 'virtio-fs-ts/protocol'
import type { FaultSpec } from '../inspect/fault-spec.js'
import type { OpenRule } from '../io-mode/open-rules.js'
import type { RateLimits } from '../limits/rate-words.js'
import type { FileHandleUse } from '../passthrough/inodes/file-handle-use.js'
import type { QuotaLimits } from '../passthrough/quota/quota-ledger.js'
import type { MigrationOptions } from '../passthrough/state/options.js'
import type { FileSystemModule } from './load-file-system.js'

/** Never; if guest and host can; or refuse the guest if not. */
export const needs = ['never', 'auto', 'always'] as const
export type Need = (typeof needs)[number]

/** The configuration of one share. Plain data, so it can be sent to the thread that serves the share. */
export interface ShareConfig extends CacheChoices {
  /** The shared directory, or the directory of a file that is shared alone. */
  readonly directory: string
  /** The name of a file that is shared alone; undefined: a directory is shared. */
  readonly file: string | undefined
  /** Serves what a module makes; undefined: serves `directory`. */
  readonly fileSystem: FileSystemModule | undefined
  /** True if `directory` was given, and does not stand in for one. */
  readonly givesDirectory: boolean
  /** Empty when the listening socket was inherited and has no path. */
  readonly socketPath: string
  /** An inherited listening socket; undefined: bind one at the path. */
  readonly inheritedFd: number | undefined
  /** The group that may also connect; undefined: the owner alone. */
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
  /** True: serve extended attributes. The map below renames them by the rules of `--xattrmap`. */
  readonly xattr: boolean
  readonly xattrMap: string | undefined
  readonly posixAcl: Need
  readonly securityLabel: Need
  readonly killprivV2: boolean
  readonly posixLocks: boolean
  readonly flock: boolean
  /** The longest wait for a lock; undefined: for ever. */
  readonly lockTimeoutSec: number | undefined
  readonly exportSupport: boolean
  readonly announceSubmounts: boolean
  readonly fileHandles: FileHandleUse
  readonly inodeLimit: number
  readonly migration: MigrationOptions
  /** The mapping of users between guest and host: specifications of `--translate-uid`. */
  readonly translateUid: readonly string[]
  readonly translateGid: readonly string[]
  /** False: never offer READDIRPLUS, whatever the cache mode. */
  readonly readdirplus: boolean
  /** Choices for some files; the first rule that applies decides. */
  readonly rules: readonly OpenRule[]
  /** Count overlap and latencies from the start. */
  readonly inspect: boolean
  /** Faults in force from the start, opcodes answered with ENOSYS, and the replacement for INIT's outcome. */
  readonly faults: readonly FaultSpec[]
  readonly withhold: readonly number[]
  readonly initOverride: InitOverride
  /** Faults may send replies that break the protocol. */
  readonly unsafeFaults: boolean
  /** The file in which every request is recorded; undefined: none. A new file begins after the given bytes. */
  readonly trace: string | undefined
  readonly traceBytes: number
  /** The limits of the guest in a second. */
  readonly rateLimits: RateLimits
  /** The quota of the share; undefined: it is not counted. */
  readonly quota: QuotaLimits | undefined
  /** The longest spin before the thread sleeps, in microseconds; 0: never. */
  readonly pollUs: number
  /** The most threads that copy large reads beside the share's; undefined: from the processors. */
  readonly threadPoolSize: number | undefined
  /** The most threads that serve request queues. */
  readonly queueThreads: number
  /** True: no other share is served on the same thread. */
  readonly ownThread: boolean
  /** True: listen again after a front-end has left. */
  readonly keepAlive: boolean
}
