import type { CacheChoices } from '../io-mode/cache-policy.js'
import type { OpenRule } from '../io-mode/open-rules.js'

/** Everything that one share is told. Plain data: it crosses to the thread that serves the share. */
export interface ShareConfig extends CacheChoices {
  readonly directory: string
  readonly socketPath: string
  /** Undefined: the front-end names the share. */
  readonly tag: string | undefined
  readonly allowMmap: boolean
  readonly allowDirectIo: boolean
  readonly writeback: boolean
  readonly readonly: boolean
  /** False: READDIRPLUS is not offered where the cache mode would. */
  readonly readdirplus: boolean
  /** Choices for some files, the first that applies counts. */
  readonly rules: readonly OpenRule[]
  /** The longest spin before the thread sleeps, in microseconds; 0: never. */
  readonly pollUs: number
  /** Listen again when a front-end has left. */
  readonly keepAlive: boolean
}
