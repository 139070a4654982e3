/** The code under test, in this process. One input always has the same effect. */
export interface Target {
  readonly name: string
  /** Runs an input. Returns the number of its messages or requests. Throws if a result is wrong. */
  run(input: Uint8Array): number
  close(): void
}
