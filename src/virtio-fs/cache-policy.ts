import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PARALLEL_DIRECT_WRITES,
} from './abi.js'

/** The cache policies of a share. Names and meanings are virtiofsd's. */
export type CacheMode = 'never' | 'metadata' | 'auto' | 'always'

export const cacheModes: readonly CacheMode[] = ['never', 'metadata', 'auto', 'always']

/** Opens answered with FOPEN_DIRECT_IO: by the cache mode, all, those with the guest's O_DIRECT, or none. */
export type DirectIo = 'policy' | 'always' | 'o-direct' | 'never'

export const directIoModes: readonly DirectIo[] = ['policy', 'always', 'o-direct', 'never']

/** Caching options of a share, or of some of its opens by a rule. Undefined: the cache mode decides. */
export interface CacheChoices {
  readonly cache: CacheMode
  readonly directIo: DirectIo
  /** Writes to one file that is open for direct I/O may run in parallel in the guest. */
  readonly parallelDio: boolean
  readonly keepCache?: boolean | undefined
  /** The guest need not send FLUSH when it closes a descriptor. */
  readonly noflush?: boolean | undefined
  readonly entryTimeoutSec?: number | undefined
  readonly attrTimeoutSec?: number | undefined
  readonly negativeTimeoutSec?: number | undefined
}

/** The caching policy for a guest, computed from the choices. */
export interface CachePolicy {
  /** How long names, attributes and the absence of names stay valid in the guest, in seconds. */
  readonly entryTimeoutSec: number
  readonly attrTimeoutSec: number
  readonly negativeTimeoutSec: number
  /** FOPEN flags of an OPEN or CREATE reply, without and with the guest's O_DIRECT. */
  readonly fileFlags: number
  readonly directFileFlags: number
  /** Opens of unchanged files also reply FOPEN_KEEP_CACHE. */
  readonly keepsUnchanged: boolean
  /** FOPEN flags of an OPENDIR reply. */
  readonly directoryFlags: number
}

interface Mode {
  readonly timeoutSec: number
  readonly directIo: boolean
  readonly keepCache: boolean
  readonly directoryFlags: number
  readonly readdirplus: boolean
}

const DAY_SEC = 86400
const CACHE_DIRECTORY = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE

const modes: Readonly<Record<CacheMode, Mode>> = {
  never: { timeoutSec: 0, directIo: true, keepCache: false, directoryFlags: 0, readdirplus: false },
  metadata: {
    timeoutSec: DAY_SEC,
    directIo: true,
    keepCache: false,
    directoryFlags: CACHE_DIRECTORY,
    readdirplus: true,
  },
  auto: { timeoutSec: 1, directIo: false, keepCache: false, directoryFlags: 0, readdirplus: true },
  always: {
    timeoutSec: DAY_SEC,
    directIo: false,
    keepCache: true,
    directoryFlags: CACHE_DIRECTORY,
    readdirplus: true,
  },
}

/** Returns true if a share with this mode offers READDIRPLUS. It is useful only if the guest may cache its results. */
export function modeHasReaddirplus(cache: CacheMode): boolean {
  return modes[cache].readdirplus
}

export function cachePolicy(choices: CacheChoices): CachePolicy {
  const mode = modes[choices.cache]
  return {
    entryTimeoutSec: choices.entryTimeoutSec ?? mode.timeoutSec,
    attrTimeoutSec: choices.attrTimeoutSec ?? mode.timeoutSec,
    negativeTimeoutSec: choices.negativeTimeoutSec ?? 0,
    fileFlags: fileFlags(choices, mode, false),
    directFileFlags: fileFlags(choices, mode, true),
    keepsUnchanged:
      choices.cache === 'auto' && choices.keepCache === undefined && choices.directIo !== 'always',
    directoryFlags: mode.directoryFlags,
  }
}

function fileFlags(choices: CacheChoices, mode: Mode, guestDirect: boolean): number {
  const noflush = choices.noflush === true ? FOPEN_NOFLUSH : 0
  if (repliesDirect(choices.directIo, mode, guestDirect)) {
    return noflush | FOPEN_DIRECT_IO | (choices.parallelDio ? FOPEN_PARALLEL_DIRECT_WRITES : 0)
  }
  // Without FOPEN_DIRECT_IO the kernel clears PARALLEL_DIRECT_WRITES, so the device does not send it.
  return noflush | ((choices.keepCache ?? mode.keepCache) ? FOPEN_KEEP_CACHE : 0)
}

function repliesDirect(directIo: DirectIo, mode: Mode, guestDirect: boolean): boolean {
  switch (directIo) {
    case 'policy':
      return mode.directIo
    case 'always':
      return true
    case 'o-direct':
      return guestDirect
    case 'never':
      return false
  }
}
