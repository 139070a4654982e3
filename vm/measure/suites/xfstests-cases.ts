import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from '../../host/setup-error.js'
import { EXPUNGED } from './expunged.js'

/** A case that is not run, or not on some kernels. */
export interface Expunged {
  readonly name: string
  /** Matches the releases that it is not run on. Undefined: all. */
  readonly releases?: RegExp
  readonly reason: string
}

const SUITE = 'xfstests '

/** Cases that every kernel or some kernels cannot run, whatever the device. */
export const XFSTESTS_EXPUNGED: readonly Expunged[] = [
  ...Object.entries(EXPUNGED)
    .filter(([name]) => name.startsWith(SUITE))
    .map(([name, reason]) => ({ name: name.slice(SUITE.length), reason })),
]

/** Returns why a case is not run on a release. Undefined: it is run. */
export function whyExpunged(
  name: string,
  release: string,
  list: readonly Expunged[] = XFSTESTS_EXPUNGED,
): string | undefined {
  return list.find((entry) => entry.name === name && entry.releases?.test(release) !== false)?.reason
}

/** The choice of cases: named ones, or a group such as quick. */
export interface CaseChoice {
  readonly group: string
  readonly tests?: string | undefined
}

/**
 * Returns the chosen cases of an xfstests directory in order: the named ones, such as "generic/001 generic/013", or those
 * of tests/generic and tests/fuse in a group. Throws SetupError for a name that is not there, and for an empty group.
 */
export function chooseCases(path: string, { group, tests }: CaseChoice): string[] {
  if (tests !== undefined) {
    const names = tests.split(/[\s,]+/).filter((name) => name !== '')
    for (const name of names)
      if (!existsSync(join(path, 'tests', name))) throw new SetupError(`${path} has no test ${name}`)
    return names
  }
  const found = ['generic', 'fuse'].flatMap((folder) => casesOf(path, folder, group))
  if (found.length > 0) return found
  throw new SetupError(`${path}: no test of the group ${group}`)
}

function casesOf(path: string, folder: string, group: string): string[] {
  const dir = join(path, 'tests', folder)
  if (!existsSync(dir)) return []
  return readdirSync(dir)
    .filter((name) => /^\d+$/.test(name) && groupsOf(join(dir, name)).includes(group))
    .sort()
    .map((name) => `${folder}/${name}`)
}

function groupsOf(file: string): string[] {
  const [, groups = ''] = /^_begin_fstest (.*)$/m.exec(readFileSync(file, 'utf8')) ?? []
  return groups.split(/\s+/)
}
