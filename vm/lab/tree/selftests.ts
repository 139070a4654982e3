import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { CommandError, runCommand } from '../../host/command.js'
import { SetupError } from '../../host/setup-error.js'
import { cacheRoot, withLock } from '../../packages/cache.js'
import { findTree, hashOf, OWN_MAKE } from './build-kernel.js'

/** Where a kernel's tree has its selftests of FUSE, since Linux 6.17. */
const PLACE = 'tools/testing/selftests/filesystems/fuse'

/** The selftests of a tree, built. */
export interface Selftests {
  /** Holds the programs, and what they start from their own directory. */
  readonly dir: string
  /** The programs that print KTAP. */
  readonly tests: readonly string[]
  /** Tests that do not compile here, such as those for which libfuse is missing. */
  readonly missing: readonly string[]
}

/** Builds a tree's selftests of FUSE, statically and outside the tree. Throws SetupError if it has none. */
export async function buildSelftests(tree: string): Promise<Selftests> {
  const source = findTree(tree)
  const makefile = join(source, PLACE, 'Makefile')
  if (!existsSync(makefile)) throw new SetupError(`${tree} has no ${PLACE}: Linux has it since 6.17`)
  const name = `lab-selftests/${hashOf(source)}`
  const output = join(cacheRoot(), name)
  const dir = join(output, 'fuse')
  await withLock(name, async () => {
    rmSync(dir, { recursive: true, force: true })
    for (const folder of [join(output, 'headers'), dir]) mkdirSync(folder, { recursive: true })
    await make(['-C', source, `O=${join(output, 'headers')}`, 'headers'])
    const headers = `-isystem ${join(output, 'headers/usr/include')}`
    const options = [`OUTPUT=${dir}`, 'LDFLAGS=-static', `KHDR_INCLUDES=${headers}`]
    // Some tests need libfuse. The others are built all the same.
    await make(['-k', '-C', join(source, PLACE), ...options]).catch((error) => {
      if (!(error instanceof CommandError)) throw error
    })
  })
  const programs = testsOf(readFileSync(makefile, 'utf8'))
  const built = new Set(readdirSync(dir))
  const tests = programs.filter((name) => built.has(name))
  if (tests.length === 0) throw new SetupError(`no test of ${PLACE} compiles: they need a static C library`)
  return { dir, tests, missing: programs.filter((name) => !built.has(name)) }
}

function make(args: string[]): Promise<string> {
  return runCommand('make', ['-s', `-j${availableParallelism()}`, ...args], { env: OWN_MAKE })
}

/** The programs that a Makefile names as tests. */
export function testsOf(makefile: string): string[] {
  return [...makefile.matchAll(/^TEST_GEN_PROGS\s*[:+]?=\s*(.+)$/gm)].flatMap(([, names = '']) =>
    names.trim().split(/\s+/),
  )
}

export type SelftestOutcome = 'pass' | 'fail' | 'skip'

/** kselftest's statuses: 0 passes, 4 skips. A run in which every test was skipped ends with 4 too. */
export function selftestOutcome(status: number | null): SelftestOutcome {
  if (status === 0) return 'pass'
  return status === 4 ? 'skip' : 'fail'
}
