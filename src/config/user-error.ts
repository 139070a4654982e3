/** The user asked for something that cannot be: one line that says what, with which value, and what would be right. */
export class UserError extends Error {
  override readonly name = 'UserError'
}
