import { type Command, CommanderError } from 'commander'

/**
 * Exit statuses of the lab's programs, as `git bisect run` expects them: 0 is good, 1 is bad, and 125 skips this commit.
 * All other numbers up to 127 also mean bad. A larger one ends the bisection.
 */
export const EXIT_AS_EXPECTED = 0
export const EXIT_UNEXPECTED = 1
/** No result: a wrong option, no kernel, no boot, no mount, no case that applies, or a fault of the lab itself. */
export const EXIT_NO_VERDICT = 125

/** Runs a program of the lab. `run` returns the status. Any error it throws is printed and means no verdict. */
export async function runForVerdict<T extends object>(
  command: Command,
  run: (options: T, args: string[]) => Promise<number>,
): Promise<never> {
  process.on('uncaughtException', fail)
  process.on('unhandledRejection', fail)
  try {
    command.exitOverride().parse()
    process.exit(await run(command.opts<T>(), command.args))
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT_NO_VERDICT)
    fail(error)
  }
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exit(EXIT_NO_VERDICT)
}
