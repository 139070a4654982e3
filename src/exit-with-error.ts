import { visibleLines } from 'virtio-fs-ts/protocol'
import { codeOf } from './basics/errors.js'
import { UserError } from './config/user-error.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

/** Prints the error and ends the process: with status 2 for a UserError, with 1 otherwise. */
export function exitWithError(error: unknown): never {
  process.stderr.write(`virtiofsd-ts: ${visibleLines(`${describe(error)}`)}\n`)
  process.exit(error instanceof UserError ? EXIT_USAGE : EXIT_FAILURE)
}

/** Prints errors that are not our fault without a stack: a wrong option, an addon that was not compiled. */
function describe(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const expected = error instanceof UserError || codeOf(error) === 'NO_ADDON'
  return expected ? error.message : error.stack
}
