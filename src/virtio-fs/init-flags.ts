import { InitFlag } from './abi.js'

/** The INIT flags of a word by name; those without a name as "bit 63". */
export function initFlagNames(flags: bigint): string[] {
  const known = new Map<number, string>(Object.entries(InitFlag).map(([name, bit]) => [bit, name]))
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (flags & (1n << BigInt(bit))) !== 0n)
    .map((bit) => known.get(bit) ?? `bit ${bit}`)
}
