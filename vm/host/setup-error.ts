/** Something outside the code is missing or wrong: a package, a kernel, an option. The message is one line and says what would help. */
export class SetupError extends Error {
  override readonly name = 'SetupError'
}
