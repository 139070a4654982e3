import { SetupError } from '../../host/setup-error.js'

/** An error whose one line explains it to the user, and that is no fault of the setup. */
export class CommandFailure extends Error {}

/** Describes an error; for one that is not the user's mistake, with its stack. */
export function describeFailure(error: unknown): string {
  const known = error instanceof SetupError || error instanceof CommandFailure
  return `${known ? error.message : error instanceof Error ? error.stack : error}`
}
