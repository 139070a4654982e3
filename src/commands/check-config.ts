import { isAbsolute, relative } from 'node:path'
import { type CachePolicy, FOPEN_DIRECT_IO, OpenFlag } from 'virtio-fs-ts/protocol'
import { hasName } from '../basics/has-name.js'
import { type Purpose, parseCommandLine } from '../config/command-line.js'
import { UserError } from '../config/user-error.js'
import { openFlagNames } from '../inspect/inode-activity.js'
import { type OpenRule, OpenRules } from '../io-mode/open-rules.js'
import { oneThreadByOptions } from '../share/one-thread-reasons.js'
import type { ShareConfig } from '../share/share-config.js'

const purpose: Purpose = {
  description: 'Explains a configuration: for each share, or for one path and its open flags.',
  usage: '[PATH [OPEN-FLAGS]]',
  max: 2,
  listsOptions: false,
  after: `The options are those of virtiofsd-ts: "virtiofsd-ts --help" lists them.

PATH lies below a share's directory, or is absolute. OPEN-FLAGS are those of the guest, such as O_RDWR|O_DIRECT;
default O_RDONLY. For example:
  virtiofsd-ts check-config --config shares.toml db/main.sqlite 'O_RDWR|O_DIRECT'`,
}

/**
 * `virtiofsd-ts check-config`: explains a configuration. For a path, prints the rule that wins and the
 * guest's answer. Throws UserError.
 */
export function runCheckConfig(args: readonly string[]): void {
  const parsed = parseCommandLine(args, 'virtiofsd-ts check-config', purpose)
  if (parsed === undefined) return
  const { shares, dangers } = parsed.configuration
  const [path, flags = 'O_RDONLY'] = parsed.positionals
  const guestFlags = openFlagsOf(flags)
  const texts =
    path === undefined
      ? shares.map((share, n) => describeShare(share, dangers[n] ?? []))
      : shares.flatMap((share) => explain(share, path, guestFlags))
  if (texts.length === 0) throw new UserError(`check-config: no share holds ${path}`)
  process.stdout.write(`${texts.join('\n')}\n`)
}

function nameOf({ tag, socketPath }: ShareConfig): string {
  return tag ?? socketPath
}

function describeShare(share: ShareConfig, dangers: readonly string[]): string {
  const rules = new OpenRules(share, share.rules)
  const { base } = rules
  const lines = [
    `share ${nameOf(share)}: ${share.directory}`,
    `  names valid ${base.entryTimeoutSec} s, attributes ${base.attrTimeoutSec} s, absent names ${base.negativeTimeoutSec} s`,
    `  opens reply ${repliesOf(base)}`,
    ...share.rules.map(
      (rule, n) =>
        `  rule ${n + 1}${placeOf(rule)}: ${conditionOf(rule)}: reply ${repliesOf(rules.policyOf(n))}`,
    ),
    ...withoutEffect(share, rules).map((note) => `  note: ${note}`),
    ...dangers.map((danger) => `  warning: ${danger}`),
  ]
  return lines.join('\n')
}

function repliesOf({ fileFlags, directFileFlags }: CachePolicy): string {
  if (fileFlags === directFileFlags) return flagsOf(fileFlags)
  return `${flagsOf(fileFlags)}; with O_DIRECT ${flagsOf(directFileFlags)}`
}

function flagsOf(flags: number): string {
  return flags === 0 ? 'no FOPEN flags (cached)' : openFlagNames(flags)
}

/** Lists the given options that have no effect. */
function withoutEffect(share: ShareConfig, rules: OpenRules): string[] {
  const wanted = [share, ...share.rules.map(({ choices }) => choices)]
  const anyDirect = rules.everDirect
  const anyCached = rules.all.some(({ fileFlags }) => (fileFlags & FOPEN_DIRECT_IO) === 0)
  const notes: string[] = []
  if (!anyDirect && wanted.some(({ parallelDio }) => parallelDio === true))
    notes.push('parallel-dio does nothing, because no open replies DIRECT_IO')
  if (!anyDirect && share.allowMmap)
    notes.push(
      'allow-mmap does nothing, because no open replies DIRECT_IO: cached files can always be mapped',
    )
  if (!anyCached && wanted.some(({ keepCache }) => keepCache === true))
    notes.push('keep-cache does nothing, because every open replies DIRECT_IO')
  if (!anyCached && share.writeback)
    notes.push('writeback writes nothing back, because every open replies DIRECT_IO')
  const oneThread = share.queueThreads > 1 ? oneThreadByOptions(share) : undefined
  if (oneThread !== undefined) notes.push(`queue-threads does nothing, because ${oneThread}`)
  return notes
}

function placeOf({ source }: OpenRule): string {
  return source === undefined ? '' : ` (${source})`
}

function conditionOf({ match, readOnly, oDirect }: OpenRule): string {
  const conditions = [
    ...(readOnly === undefined ? [] : [readOnly ? 'opened for reading' : 'opened for writing']),
    ...(oDirect === undefined ? [] : [oDirect ? 'with O_DIRECT' : 'without O_DIRECT']),
  ]
  return [match, ...conditions].join(', ')
}

/** Explains one path. Prints nothing if the absolute path lies outside the share. */
function explain(share: ShareConfig, path: string, guestFlags: number): string[] {
  const below = isAbsolute(path) ? relative(share.directory, path) : path
  if (below.startsWith('..') || isAbsolute(below)) return []
  const rules = new OpenRules(share, share.rules)
  const open = rules.forOpen(below, guestFlags)
  const name = rules.forName(below)
  const direct = (guestFlags & OpenFlag.O_DIRECT) !== 0
  const lines = [
    `share ${nameOf(share)}: ${below}`,
    `  open:  ${winner(share, open.rule)}; the guest gets ${flagsOf(direct ? open.policy.directFileFlags : open.policy.fileFlags)}`,
    `  name:  ${winner(share, name.rule)}; valid ${name.policy.entryTimeoutSec} s, attributes ${name.policy.attrTimeoutSec} s`,
  ]
  return [lines.join('\n')]
}

function winner({ rules }: ShareConfig, index: number): string {
  const rule = rules[index]
  if (rule === undefined) return "no rule applies: the share's own options decide"
  return `rule ${index + 1}${placeOf(rule)} wins: ${conditionOf(rule)}`
}

function openFlagsOf(names: string): number {
  return names
    .split(/[|,+]/)
    .map((name) => {
      if (!hasName(OpenFlag, name)) throw new UserError(`check-config: no such open flag: '${name}'`)
      return OpenFlag[name]
    })
    .reduce((flags, value) => flags | value, 0)
}
