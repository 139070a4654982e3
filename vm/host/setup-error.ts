/**
 * Something outside the code is missing or wrong: a package, a kernel, an option. The message, one line, says what
 * helps.
 */
export class SetupError extends Error {
  override readonly name = 'SetupError'
}
