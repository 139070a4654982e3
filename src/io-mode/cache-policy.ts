import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_PARALLEL_DIRECT_WRITES,
} from '../fuse/abi.js'

/** How much of a share a guest may cache. The names and meanings are virtiofsd's. */
export type CacheMode = 'never' | 'metadata' | 'auto' | 'always'

export const cacheModes: readonly CacheMode[] = ['never', 'metadata', 'auto', 'always']

/** What a guest is told to cache, for one share. */
export interface CachePolicy {
  /** How long names and attributes stay valid in the guest, in seconds. */
  readonly entryTimeoutSec: number
  readonly attrTimeoutSec: number
  /** FOPEN flags of every OPEN and CREATE reply. */
  readonly fileFlags: number
  /** FOPEN flags of every OPENDIR reply. */
  readonly directoryFlags: number
  readonly readdirplus: boolean
}

const DAY_SEC = 86400

const modes: Readonly<Record<CacheMode, CachePolicy>> = {
  never: {
    entryTimeoutSec: 0,
    attrTimeoutSec: 0,
    fileFlags: FOPEN_DIRECT_IO,
    directoryFlags: 0,
    readdirplus: false,
  },
  metadata: {
    entryTimeoutSec: DAY_SEC,
    attrTimeoutSec: DAY_SEC,
    fileFlags: FOPEN_DIRECT_IO,
    directoryFlags: FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE,
    readdirplus: true,
  },
  auto: { entryTimeoutSec: 1, attrTimeoutSec: 1, fileFlags: 0, directoryFlags: 0, readdirplus: true },
  always: {
    entryTimeoutSec: DAY_SEC,
    attrTimeoutSec: DAY_SEC,
    fileFlags: FOPEN_KEEP_CACHE,
    directoryFlags: FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE,
    readdirplus: true,
  },
}

export interface CacheChoices {
  readonly cache: CacheMode
  /** Lets writes to one file that was opened for direct I/O run in parallel in the guest. */
  readonly parallelDio: boolean
  /** False switches READDIRPLUS off where the mode has it on. */
  readonly readdirplus: boolean
}

export function cachePolicy({ cache, parallelDio, readdirplus }: CacheChoices): CachePolicy {
  const mode = modes[cache]
  const direct = (mode.fileFlags & FOPEN_DIRECT_IO) !== 0
  return {
    ...mode,
    // Without FOPEN_DIRECT_IO the kernel clears the flag again: do not send what means nothing.
    fileFlags: mode.fileFlags | (direct && parallelDio ? FOPEN_PARALLEL_DIRECT_WRITES : 0),
    readdirplus: mode.readdirplus && readdirplus,
  }
}
