import { isAbsolute, relative } from 'node:path'
import { constants } from 'virtiofsd-ts-native'
import { parseCommandLine } from '../config/command-line.js'
import { UserError } from '../config/user-error.js'
import type { ShareConfig } from '../device/share-config.js'
import { openFlagNames } from '../inspect/inode-activity.js'
import { type OpenRule, OpenRules } from '../io-mode/open-rules.js'

const positionals = { usage: '[PATH [OPEN-FLAGS]]', max: 2 }

/**
 * `virtiofsd-ts check-config`: says what a configuration means, and for a path which rule wins and what the guest will be
 * told. Throws UserError.
 */
export function runCheckConfig(args: readonly string[]): void {
  const parsed = parseCommandLine(args, 'virtiofsd-ts check-config', positionals)
  if (parsed === undefined) return
  const { shares } = parsed.configuration
  const [path, flags = 'O_RDONLY'] = parsed.positionals
  const guestFlags = openFlagsOf(flags)
  const texts =
    path === undefined
      ? shares.map(describeShare)
      : shares.flatMap((share) => explain(share, path, guestFlags))
  if (texts.length === 0) throw new UserError(`check-config: no share holds ${path}`)
  process.stdout.write(`${texts.join('\n')}\n`)
}

function nameOf({ tag, socketPath }: ShareConfig): string {
  return tag ?? socketPath
}

function describeShare(share: ShareConfig): string {
  const { base } = new OpenRules(share, share.rules)
  const lines = [
    `share ${nameOf(share)}: ${share.directory}`,
    `  names valid ${base.entryTimeoutSec} s, attributes ${base.attrTimeoutSec} s, absent names ${base.negativeTimeoutSec} s`,
    `  opens reply ${openFlagNames(base.fileFlags)}, with O_DIRECT ${openFlagNames(base.directFileFlags)}`,
    ...share.rules.map((rule, n) => `  rule ${n + 1}${placeOf(rule)}: ${conditionOf(rule)}`),
  ]
  return lines.join('\n')
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

/** Nothing for a share that an absolute path does not lie in. */
function explain(share: ShareConfig, path: string, guestFlags: number): string[] {
  const below = isAbsolute(path) ? relative(share.directory, path) : path
  if (below.startsWith('..') || isAbsolute(below)) return []
  const rules = new OpenRules(share, share.rules)
  const open = rules.forOpen(below, guestFlags)
  const name = rules.forName(below)
  const direct = (guestFlags & constants.O_DIRECT) !== 0
  const lines = [
    `share ${nameOf(share)}: ${below}`,
    `  open:  ${winner(share, open.rule)}; the guest gets ${openFlagNames(direct ? open.policy.directFileFlags : open.policy.fileFlags)}`,
    `  name:  ${winner(share, name.rule)}; valid ${name.policy.entryTimeoutSec} s, attributes ${name.policy.attrTimeoutSec} s`,
  ]
  return [lines.join('\n')]
}

function winner({ rules }: ShareConfig, index: number): string {
  if (index < 0) return "no rule applies, the share's own options hold"
  return `rule ${index + 1}${placeOf(rules[index])} wins: ${conditionOf(rules[index])}`
}

function openFlagsOf(names: string): number {
  return names
    .split(/[|,+]/)
    .map((name) => {
      const value = name.startsWith('O_') ? constants[name as keyof typeof constants] : undefined
      if (value === undefined) throw new UserError(`check-config: no such open flag: '${name}'`)
      return value
    })
    .reduce((flags, value) => flags | value, 0)
}
