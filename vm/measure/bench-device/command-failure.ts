import { SetupError } from '../../host/setup-error.js'

/** Something that a user of these commands can understand from its one line, and that is no fault of the setup. */
export class CommandFailure extends Error {}

/** Of what is no mistake of the user, also where it came from. */
export function describeFailure(error: unknown): string {
  const known = error instanceof SetupError || error instanceof CommandFailure
  return `${known ? error.message : error instanceof Error ? error.stack : error}`
}
