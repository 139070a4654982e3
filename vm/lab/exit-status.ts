import { type Command, CommanderError } from 'commander'

/**
 * How the programs of the lab end, as `git bisect run` takes it: 0 is good, 1 is bad, 125 says nothing about this commit.
 * Every other number up to 127 would be bad as well, and a larger one would end the bisection.
 */
export const EXIT_AS_EXPECTED = 0
export const EXIT_UNEXPECTED = 1
/** Nothing was found out: a wrong option, no kernel, no boot, no mount, no case that applies, or a fault of the lab's own. */
export const EXIT_NO_VERDICT = 125

/** Runs a program of the lab. `run` returns the status; whatever it throws is one message, and no verdict. */
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
