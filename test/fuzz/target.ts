/** What is fuzzed, in this process. One input always does the same. */
export interface Target {
  readonly name: string
  /** Does what the input says. Returns how many messages or requests that were; throws when what came of it is wrong. */
  run(input: Uint8Array): number
  close(): void
}
