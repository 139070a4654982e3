/**
 * The user asked for something impossible. The message, one line, says what was wrong, with which value, and what
 * would be right.
 */
export class UserError extends Error {
  override readonly name = 'UserError'
}
