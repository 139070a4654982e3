import type { Test } from 'tap'
import { GuestMemory } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { ok } from '../device/descriptors.js'

export const KIB = 2 ** 10
export const MIB = 2 ** 20
export const GIB = 2 ** 30

/** The front-end's user address of guest address 0 in these tests. */
export const UVA_BASE = 0x7f00_0000_0000

export interface RegionSpec {
  readonly gpa: number
  readonly sizeBytes: number
  /** Default UVA_BASE + gpa. */
  readonly uva?: number
}

/** Makes guest memory of sparse, zeroed regions; it is removed at the end of the test. */
export function guestRam(t: Test, ...regions: readonly RegionSpec[]): GuestMemory {
  const memory = new GuestMemory()
  t.teardown(() => memory.destroy())
  for (const { gpa, sizeBytes, uva = UVA_BASE + gpa } of regions) {
    const fd = ok(native.memfdCreate(sizeBytes))
    memory.add(fd, gpa, sizeBytes, uva, 0)
    native.close(fd)
  }
  return memory
}

/** Writes guest memory through the addon, regardless of windows and region borders. */
export function poke(memory: GuestMemory, gpa: number, bytes: Uint8Array): void {
  ok(native.guestWrite(memory.id, Float64Array.of(gpa, bytes.length), 0, 1, 0, bytes.length, bytes, 0))
}

export function peek(memory: GuestMemory, gpa: number, lenBytes: number): Uint8Array {
  const bytes = new Uint8Array(lenBytes)
  ok(native.guestRead(memory.id, Float64Array.of(gpa, lenBytes), 0, 1, 0, lenBytes, bytes, 0))
  return bytes
}

/** Returns bytes that reveal their place: 1 to 251, repeated, from `first` on. */
export function patternOf(lenBytes: number, first = 0): Uint8Array {
  return Uint8Array.from({ length: lenBytes }, (_, n) => ((first + n) % 251) + 1)
}
