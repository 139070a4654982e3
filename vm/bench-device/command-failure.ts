/** Something that a user of these commands can understand from its one line, and that is no fault of the setup. */
export class CommandFailure extends Error {}
