import type { OptionName } from '../config/option-table.js'
import type { ShareConfig } from '../share/share-config.js'

/**
 * When a change of a setting takes effect in a share that runs: at once, with the next mount, when another process takes
 * its place, or not at all.
 */
type Effect = 'now' | 'mount' | 'replace' | 'restart'

/** Settings that have a notation of their own: `set` takes the one, and `limits` changes the others. */
const special: readonly string[] = ['rules', 'rateLimits', 'quota']

/** The option behind each setting of a share, and when a change of it takes effect. */
const settings: Readonly<Record<keyof ShareConfig, readonly [OptionName, Effect]>> = {
  cache: ['cache', 'now'],
  directIo: ['direct-io', 'now'],
  parallelDio: ['parallel-dio', 'now'],
  keepCache: ['keep-cache', 'now'],
  noflush: ['noflush', 'now'],
  entryTimeoutSec: ['entry-timeout', 'now'],
  attrTimeoutSec: ['attr-timeout', 'now'],
  negativeTimeoutSec: ['negative-timeout', 'now'],
  // A rule has no option of its own: it stands in the file.
  rules: ['cache', 'now'],
  rateLimits: ['limit-iops', 'now'],
  quota: ['quota-bytes', 'now'],
  keepAlive: ['keep-alive', 'now'],
  readdirplus: ['readdirplus', 'mount'],
  allowMmap: ['allow-mmap', 'mount'],
  killprivV2: ['killpriv-v2', 'mount'],
  posixLocks: ['posix-lock', 'mount'],
  flock: ['flock', 'mount'],
  exportSupport: ['export', 'mount'],
  announceSubmounts: ['announce-submounts', 'mount'],
  directory: ['shared-dir', 'restart'],
  file: ['shared-dir', 'restart'],
  givesDirectory: ['shared-dir', 'restart'],
  fileSystem: ['file-system', 'restart'],
  socketPath: ['socket-path', 'restart'],
  inheritedFd: ['fd', 'restart'],
  socketGid: ['socket-group', 'restart'],
  tag: ['tag', 'restart'],
  allowSuid: ['suid', 'restart'],
  allowDev: ['dev', 'restart'],
  allowProjectIds: ['allow-project-ids', 'restart'],
  allowDirectIo: ['allow-direct-io', 'replace'],
  preserveNoatime: ['preserve-noatime', 'replace'],
  writeback: ['writeback', 'restart'],
  readonly: ['readonly', 'restart'],
  xattr: ['xattr', 'restart'],
  xattrMap: ['xattrmap', 'restart'],
  posixAcl: ['posix-acl', 'restart'],
  securityLabel: ['security-label', 'restart'],
  lockTimeoutSec: ['lock-timeout', 'replace'],
  fileHandles: ['inode-file-handles', 'replace'],
  inodeLimit: ['inode-limit', 'replace'],
  translateUid: ['translate-uid', 'restart'],
  translateGid: ['translate-gid', 'restart'],
  inspect: ['inspect', 'replace'],
  faults: ['fault', 'replace'],
  withhold: ['withhold', 'replace'],
  initOverride: ['init-on', 'replace'],
  unsafeFaults: ['unsafe-faults', 'replace'],
  trace: ['trace', 'replace'],
  traceBytes: ['trace-size', 'replace'],
  pollUs: ['poll-us', 'replace'],
  threadPoolSize: ['thread-pool-size', 'replace'],
  queueThreads: ['queue-threads', 'replace'],
  ownThread: ['own-thread', 'replace'],
  migration: ['migration-mode', 'replace'],
}

/** The table's keys: all those of a ShareConfig. */
const names = Object.keys(settings) as (keyof ShareConfig)[]

/** The options that `set` can change in a running share: the setting behind each, and when a change takes effect. */
export const changeable: ReadonlyMap<OptionName, { name: keyof ShareConfig; effect: Effect }> = new Map(
  names
    .filter((name) => ['now', 'mount'].includes(settings[name][1]) && !special.includes(name))
    .map((name) => [settings[name][0], { name, effect: settings[name][1] }]),
)

/** What helps where a running share cannot change an option. */
export function remedyFor(option: OptionName): string {
  const effects = names.filter((name) => settings[name][0] === option).map((name) => settings[name][1])
  return `${effects.includes('replace') ? 'replace the process, or ' : ''}remove the share and add it`
}

/** The options whose values differ between two configurations of a share, by when they take effect. */
export interface Difference {
  readonly now: readonly OptionName[]
  readonly mount: readonly OptionName[]
  /** These cannot change in a share that runs. */
  readonly fixed: readonly OptionName[]
}

/** Compares two configurations of a share. */
export function differenceOf(before: ShareConfig, after: ShareConfig): Difference {
  const changed = names.filter((name) => textOf(before, name) !== textOf(after, name))
  // The tree is counted from the start, or never.
  const counts = (before.quota === undefined) === (after.quota === undefined)
  const effectOf = (name: keyof ShareConfig) => (name === 'quota' && !counts ? 'restart' : settings[name][1])
  const among = (...effects: readonly Effect[]) => [
    ...new Set(changed.filter((name) => effects.includes(effectOf(name))).map((name) => settings[name][0])),
  ]
  return { now: among('now'), mount: among('mount'), fixed: among('restart', 'replace') }
}

/** A value as text. The line at which a rule stands makes no difference. */
function textOf(config: ShareConfig, name: keyof ShareConfig): string {
  return JSON.stringify(config[name], (key, value: unknown) => {
    if (key === 'source') return undefined
    return typeof value === 'bigint' ? `${value}` : value
  })
}
