import type { CacheMode } from '../io-mode/cache-policy.js'

/** Everything that one share is told. Plain data: it crosses to the thread that serves the share. */
export interface ShareConfig {
  readonly directory: string
  readonly socketPath: string
  /** Undefined: the front-end names the share. */
  readonly tag: string | undefined
  readonly cache: CacheMode
  readonly allowMmap: boolean
  readonly parallelDio: boolean
  readonly allowDirectIo: boolean
  readonly writeback: boolean
  readonly readonly: boolean
  readonly readdirplus: boolean
  /** The longest spin before the thread sleeps, in microseconds; 0: never. */
  readonly pollUs: number
  /** Listen again when a front-end has left. */
  readonly keepAlive: boolean
}
