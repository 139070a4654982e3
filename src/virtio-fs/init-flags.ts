import { InitFlag } from './abi.js'

/** Names of the INIT flags in a word. An unnamed flag is "bit 63", for example. */
export function initFlagNames(flags: bigint): string[] {
  const known = new Map<number, string>(Object.entries(InitFlag).map(([name, bit]) => [bit, name]))
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (flags & (1n << BigInt(bit))) !== 0n)
    .map((bit) => known.get(bit) ?? `bit ${bit}`)
}
