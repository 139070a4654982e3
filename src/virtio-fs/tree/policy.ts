import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_NONSEEKABLE,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FOPEN_STREAM,
} from '../abi.js'
import type { CachePolicy } from '../cache-policy.js'
import { OpenFlag } from '../open-flags.js'
import { wrong } from './attributes.js'
import type { FsNode, Opened } from './node.js'

/** The caching policy of each name and each open. */
export interface TreePolicy {
  readonly base: CachePolicy
  /** True if some names and attributes have other time-outs than `base`. */
  readonly changesTimeouts: boolean
  /** True if the policy depends on paths. */
  readonly any: boolean
  forOpen(path: string | undefined, flags: number): { readonly policy: CachePolicy }
  forName(path: string | undefined): { readonly policy: CachePolicy }
}

/** One policy for everything. */
export function uniformPolicy(base: CachePolicy): TreePolicy {
  const decision = { policy: base }
  return { base, changesTimeouts: false, any: false, forOpen: () => decision, forName: () => decision }
}

const choices: readonly (readonly [keyof Opened, number])[] = [
  ['directIo', FOPEN_DIRECT_IO],
  ['parallelDio', FOPEN_PARALLEL_DIRECT_WRITES],
  ['keepCache', FOPEN_KEEP_CACHE],
  ['nonseekable', FOPEN_NONSEEKABLE],
  ['stream', FOPEN_STREAM],
  ['noflush', FOPEN_NOFLUSH],
  ['cacheListing', FOPEN_CACHE_DIR],
]

/** The FOPEN flags of an open: the policy's, changed by the node's own choices. Throws TypeError. */
export function fopenFlags(policyFlags: number, opened: Opened | undefined): number {
  let flags = policyFlags
  if (opened === undefined) return flags
  if (typeof opened !== 'object' || opened === null) wrong('the answer', opened, 'an object')
  for (const [choice, bit] of choices) {
    const said = opened[choice]
    if (said === undefined) continue
    if (typeof said !== 'boolean') wrong(choice, said, 'true or false')
    flags = said ? flags | bit : flags & ~bit
  }
  return flags
}

/** The policy's flags for an open of a file with these flags. */
export function filePolicyFlags(policy: CachePolicy, node: FsNode, flags: number): number {
  const chosen = (flags & OpenFlag.O_DIRECT) !== 0 ? policy.directFileFlags : policy.fileFlags
  // Without a flush method, reports of each close are useless.
  return node.flush === undefined ? chosen | FOPEN_NOFLUSH : chosen
}
