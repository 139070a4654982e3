import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { UserError } from '../config/user-error.js'

/** From dist/src/commands to dist/vm, which only a checkout has. */
const PROGRAM = fileURLToPath(new URL('../../vm/bench.js', import.meta.url))

/** `virtiofsd-ts bench`: the benchmark of the repository, with its options. Throws UserError where it is not there. */
export function runBench(args: readonly string[], program = PROGRAM): void {
  if (!existsSync(program)) {
    throw new UserError(
      'bench: this installation lacks the parts that boot guests (vm/): run make bench in a checkout of the repository',
    )
  }
  const { status } = spawnSync(process.execPath, [program, ...args], { stdio: 'inherit' })
  process.exitCode = status ?? 1
}
