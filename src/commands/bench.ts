import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { UserError } from '../config/user-error.js'

/** The path from dist/src/commands to dist/vm. Only a checkout has dist/vm. */
const PROGRAM = fileURLToPath(new URL('../../vm/bench.js', import.meta.url))

/**
 * `virtiofsd-ts bench`: runs the repository's benchmark with its options. Throws UserError if this
 * installation lacks it.
 */
export function runBench(args: readonly string[], program = PROGRAM): void {
  if (!existsSync(program)) {
    throw new UserError(
      'bench: this installation lacks the parts that boot guests (vm/): run make bench in a checkout of the repository',
    )
  }
  const { status } = spawnSync(process.execPath, [program, ...args], { stdio: 'inherit' })
  process.exitCode = status ?? 1
}
