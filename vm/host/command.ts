import { ExecaError, execa } from 'execa'
import { SetupError } from './setup-error.js'

export interface CommandOptions {
  cwd?: string
  env?: Record<string, string>
}

/** A host command failed; `stderr` is its whole output there. */
export class CommandError extends Error {
  override readonly name = 'CommandError'

  constructor(
    message: string,
    readonly stderr: string,
  ) {
    super(message)
  }
}

/**
 * Runs a host command to its end. Returns its stdout. Throws SetupError for a missing command, CommandError for a
 * failing one.
 */
export async function runCommand(
  command: string,
  args: string[],
  options: CommandOptions = {},
): Promise<string> {
  try {
    const { stdout } = await execa(command, args, {
      ...options,
      env: { ...options.env, LC_ALL: 'C' },
      stdin: 'ignore',
    })
    return stdout
  } catch (error) {
    throw explainFailure(command, error)
  }
}

function explainFailure(command: string, error: unknown): unknown {
  if (!(error instanceof ExecaError)) return error
  if (error.code === 'ENOENT') return new SetupError(`the command ${command} is not installed`)
  const stderr = String(error.stderr ?? '').trim()
  const why = stderr.split('\n').at(-1) || error.shortMessage
  return new CommandError(`${command} failed: ${why}`, stderr)
}
