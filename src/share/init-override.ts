import { InitFlag, type InitOverride, initFlagNames, noOverride } from 'virtio-fs-ts/protocol'
import { CommandError, checkedObject, namesToNumbers } from './command-arguments.js'

/** Reads { on, off: flag names, minor }. Throws CommandError. */
export function parseInitOverride(argument: unknown): InitOverride {
  if (argument === undefined || argument === null) return noOverride
  const { on, off, minor, ...others } = checkedObject(argument)
  for (const key of Object.keys(others)) throw new CommandError(`unknown key '${key}': on, off and minor`)
  return {
    on: initFlagBits(on),
    off: initFlagBits(off),
    minor: minor === undefined ? undefined : wholeNumber(minor),
  }
}

function wholeNumber(minor: unknown): number {
  if (typeof minor === 'number' && Number.isInteger(minor) && minor >= 0) return minor
  throw new CommandError('minor is a whole number')
}

/** Formats an override with flag names; undefined if nothing is overridden. */
export function describeInitOverride({ on, off, minor }: InitOverride): object | undefined {
  if (on === 0n && off === 0n && minor === undefined) return undefined
  return { on: initFlagNames(on), off: initFlagNames(off), minor }
}

/** Returns the bits of INIT flags given by name. Throws CommandError. */
export function initFlagBits(names: unknown): bigint {
  if (names === undefined) return 0n
  return namesToNumbers(names, InitFlag, 'INIT flag').reduce((word, bit) => word | (1n << BigInt(bit)), 0n)
}
