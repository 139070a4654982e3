import { SetupError } from '../../host/setup-error.js'

/**
 * Cache policies, as options that ours and the peer share. SQLite maps the index of its write-ahead log shared:
 * direct opens need allow-mmap for that.
 */
export const POLICIES = {
  never: ['--cache=never', '--allow-mmap'],
  metadata: ['--cache=metadata', '--allow-mmap'],
  auto: ['--cache=auto'],
  always: ['--cache=always'],
  'write-back': ['--cache=always', '--writeback'],
} as const

export type PolicyName = keyof typeof POLICIES

export const DEFAULT_POLICIES: readonly PolicyName[] = ['never', 'auto', 'always', 'write-back']

/** Returns the policies in a list of names. */
export function parsePolicies(text: string): PolicyName[] {
  const names = text.split(/[\s,]+/).filter((name) => name !== '')
  if (names.length === 0) throw new SetupError(`no policy: there are ${Object.keys(POLICIES).join(', ')}`)
  return names.map((name) => {
    if (!Object.hasOwn(POLICIES, name))
      throw new SetupError(`no policy ${name}: there are ${Object.keys(POLICIES).join(', ')}`)
    return name as PolicyName
  })
}
