import picomatch from 'picomatch'
import {
  type CacheChoices,
  type CachePolicy,
  cachePolicy,
  FOPEN_DIRECT_IO,
  OpenFlag,
} from 'virtio-fs-ts/protocol'

const { O_ACCMODE, O_DIRECT, O_RDONLY } = OpenFlag

/** Choices for some files of a share. The first rule that applies to an open decides alone. */
export interface OpenRule {
  /** A glob on the path below the shared directory, without a leading slash. */
  readonly match: string
  /** True: applies to read-only opens. False: applies to all others. Undefined: applies to both. */
  readonly readOnly?: boolean | undefined
  /** True: applies to opens with O_DIRECT. False: applies to opens without. Undefined: applies to both. */
  readonly oDirect?: boolean | undefined
  /** The rule's place in the configuration, such as "shares.toml:12". */
  readonly source?: string | undefined
  /** The choices that replace the share's own. */
  readonly choices: Partial<CacheChoices>
}

/** The policy for an open or a name, and the index of the rule that decided, or -1 for the share itself. */
export interface Decision {
  readonly rule: number
  readonly policy: CachePolicy
}

interface CompiledRule {
  readonly matches: (path: string) => boolean
  readonly rule: OpenRule
  readonly decision: Decision
}

/** A guest makes up names, and each further star would multiply the time of a comparison. */
const MAX_STARS_IN_NAME = 3
const MAX_DOUBLE_STARS = 2

/** Throws an Error for a glob that takes long on some path. */
function expectQuick(glob: string): void {
  const bare = glob.replaceAll(/\\.|\[[^\]]*\]/g, 'x')
  if (/[!?*+@]\(/.test(bare)) throw new Error('patterns in parentheses, such as +(a|b), are not supported')
  const names = bare.split('/')
  if (names.filter((name) => name.includes('**')).length > MAX_DOUBLE_STARS)
    throw new Error(`more than ${MAX_DOUBLE_STARS} times **`)
  if (names.some((name) => (name.match(/\*+/g) ?? []).length > MAX_STARS_IN_NAME))
    throw new Error(`more than ${MAX_STARS_IN_NAME} stars in one name`)
}

/** Throws an Error that says what is wrong with a glob. */
export function compileGlob(glob: string): (path: string) => boolean {
  if (glob === '') throw new Error('an empty glob matches nothing')
  if (glob.startsWith('/')) throw new Error('globs begin below the shared directory, without a slash')
  expectQuick(glob)
  return picomatch(glob, { dot: true, strictBrackets: true, strictSlashes: true })
}

/** Decides a file's caching from the share's own choices and its rules. */
export class OpenRules {
  private share!: Decision
  private compiled!: readonly CompiledRule[]
  /** True if the timeouts of names and attributes can differ from the share's. */
  changesTimeouts!: boolean

  /** Throws if a glob is wrong. */
  constructor(choices: CacheChoices, rules: readonly OpenRule[]) {
    this.replace(choices, rules)
  }

  /** Decides differently from the next open, name and attribute on. Throws, and changes nothing, if a glob is wrong. */
  replace(choices: CacheChoices, rules: readonly OpenRule[]): void {
    const compiled = rules.map((rule, n) => ({
      matches: compileGlob(rule.match),
      rule,
      decision: { rule: n, policy: cachePolicy({ ...choices, ...rule.choices }) },
    }))
    this.compiled = compiled
    this.share = { rule: -1, policy: cachePolicy(choices) }
    const base = this.share.policy
    this.changesTimeouts = this.compiled.some(
      ({ decision: { policy } }) =>
        policy.entryTimeoutSec !== base.entryTimeoutSec || policy.attrTimeoutSec !== base.attrTimeoutSec,
    )
  }

  /** Returns true if there are rules, so that paths must be known. */
  get any(): boolean {
    return this.compiled.length > 0
  }

  /** The share's own policy, without rules. */
  get base(): CachePolicy {
    return this.share.policy
  }

  /** Returns the policy of one rule for its files. */
  policyOf(rule: number): CachePolicy {
    return this.compiled[rule]!.decision.policy
  }

  /** The share's own policy, then the policy of each rule. */
  get all(): readonly CachePolicy[] {
    return [this.base, ...this.compiled.map(({ decision }) => decision.policy)]
  }

  /** Returns true if some open keeps the guest's cache of a file that has not changed. */
  get everKeepsUnchanged(): boolean {
    return this.all.some(({ keepsUnchanged }) => keepsUnchanged)
  }

  /** Returns true if some open replies FOPEN_DIRECT_IO. */
  get everDirect(): boolean {
    return this.all.some(
      ({ fileFlags, directFileFlags }) => ((fileFlags | directFileFlags) & FOPEN_DIRECT_IO) !== 0,
    )
  }

  /** Decides an OPEN or CREATE. `path` is undefined for a file without a name: no rule applies to it. */
  forOpen(path: string | undefined, guestFlags: number): Decision {
    if (path === undefined) return this.share
    const readOnly = (guestFlags & O_ACCMODE) === O_RDONLY
    const oDirect = (guestFlags & O_DIRECT) !== 0
    const found = this.compiled.find(
      ({ rule, matches }) =>
        (rule.readOnly ?? readOnly) === readOnly && (rule.oDirect ?? oDirect) === oDirect && matches(path),
    )
    return found?.decision ?? this.share
  }

  /** Decides for a name or its attributes. Rules that depend on how a file is opened do not apply. */
  forName(path: string | undefined): Decision {
    if (path === undefined) return this.share
    const found = this.compiled.find(
      ({ rule, matches }) => rule.readOnly === undefined && rule.oDirect === undefined && matches(path),
    )
    return found?.decision ?? this.share
  }
}
