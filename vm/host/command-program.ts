import { type Command, CommanderError } from 'commander'
import { SetupError } from './setup-error.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

/**
 * Runs a program: `run` gets its options and its arguments. An error becomes one message and an exit status: 2 for an
 * error that the user can correct, 1 for others. Ends this process and everything it still runs.
 */
export async function runAsProgram<T extends object>(
  command: Command,
  run: (options: T, args: string[]) => Promise<void>,
  describe: (error: unknown) => string = messageOf,
): Promise<never> {
  try {
    command.parse()
    await run(command.opts<T>(), command.args)
  } catch (error) {
    process.exitCode = explain(error, describe)
  }
  process.exit()
}

/** Parses options that count something. Throws SetupError. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0) return count
  throw new SetupError(`not a positive number: ${text}`)
}

function explain(error: unknown, describe: (error: unknown) => string): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
  process.stderr.write(`${describe(error)}\n`)
  return error instanceof SetupError ? EXIT_USAGE : EXIT_FAILURE
}

function messageOf(error: unknown): string {
  return `${error instanceof Error ? error.message : error}`
}
