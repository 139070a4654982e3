import { damaged } from '../state/blocks.js'
import type { ShareConfig } from './share-config.js'

/** The name of `--export` in a state. */
const SAVED_EXPORT = 'export-support'

/** Options that the guest relies on since INIT, or that decide what names, owners and rights it sees. */
const agreedOptions = {
  writeback: (config: ShareConfig) => config.writeback,
  readonly: (config: ShareConfig) => config.readonly,
  xattr: (config: ShareConfig) => config.xattr,
  xattrmap: (config: ShareConfig) => config.xattrMap ?? null,
  'posix-acl': (config: ShareConfig) => config.posixAcl,
  'security-label': (config: ShareConfig) => config.securityLabel,
  'killpriv-v2': (config: ShareConfig) => config.killprivV2,
  'posix-lock': (config: ShareConfig) => config.posixLocks,
  flock: (config: ShareConfig) => config.flock,
  [SAVED_EXPORT]: (config: ShareConfig) => config.exportSupport,
  'announce-submounts': (config: ShareConfig) => config.announceSubmounts,
  'allow-mmap': (config: ShareConfig) => config.allowMmap,
  'translate-uid': (config: ShareConfig) => config.translateUid,
  'translate-gid': (config: ShareConfig) => config.translateGid,
} as const

/** Options that count for each reply: the guest goes on with those of its new device. */
const cachingOptions = {
  cache: (config: ShareConfig) => config.cache,
  'direct-io': (config: ShareConfig) => config.directIo,
  'parallel-dio': (config: ShareConfig) => config.parallelDio,
  'keep-cache': (config: ShareConfig) => config.keepCache ?? null,
  noflush: (config: ShareConfig) => config.noflush ?? null,
  'entry-timeout': (config: ShareConfig) => config.entryTimeoutSec ?? null,
  'attr-timeout': (config: ShareConfig) => config.attrTimeoutSec ?? null,
  'negative-timeout': (config: ShareConfig) => config.negativeTimeoutSec ?? null,
  'allow-direct-io': (config: ShareConfig) => config.allowDirectIo,
} as const

type Values = Record<string, unknown>

/** The options of a share that its guest can notice, by name. */
export function optionsOf(config: ShareConfig): Values {
  const all = { ...agreedOptions, ...cachingOptions }
  return Object.fromEntries(Object.entries(all).map(([name, read]) => [name, read(config)]))
}

/**
 * Compares a share's options with those in a state. `must`: why the guest cannot go on here. `may`: caching options that
 * differ, with the source's value and ours. Options that a state does not name are those of an earlier version: no fault.
 */
export function differences(ours: Values, theirs: unknown): { must?: string; may?: Values } {
  if (typeof theirs !== 'object' || theirs === null) throw damaged('it has no options')
  // An object that is not null has members by name.
  const given = theirs as Values
  const text = (value: unknown) => JSON.stringify(value)
  const differing = Object.keys(ours).filter(
    (name) => given[name] !== undefined && text(given[name]) !== text(ours[name]),
  )
  const [must] = differing.filter((name) => name in agreedOptions)
  if (must !== undefined) {
    const option = must === SAVED_EXPORT ? 'export' : must
    const [source, here] = [text(given[must]).slice(0, 200), text(ours[must]).slice(0, 200)]
    return { must: `--${option} was ${source} at the source and is ${here} here: give both the same` }
  }
  if (differing.length === 0) return {}
  return {
    may: Object.fromEntries(
      differing.map((name) => [name, `${text(given[name]).slice(0, 200)}, now ${text(ours[name])}`]),
    ),
  }
}
