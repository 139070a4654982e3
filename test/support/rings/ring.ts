import type { Test } from 'tap'
import type { GuestMemory } from 'vhost-user-ts'
import { DriverVirtqueue } from 'vhost-user-ts/frontend'
import type { RingLayout } from '#vhost-user/rings/ring-layout'
import { SplitVirtqueue } from '#vhost-user/rings/split-virtqueue'

export interface RingOptions {
  readonly size?: number
  readonly eventIdx?: boolean
  readonly indirect?: boolean
  /** Guest address of the rings; 64 KiB are enough for sizes up to 256. Default 0. */
  readonly gpa?: number
  /** The available index at which the device starts. Default 0. */
  readonly base?: number
}

/** Both sides of one queue in the same memory: the device pops the requests that the driver makes available. */
export interface Ring {
  readonly driver: DriverVirtqueue
  readonly device: SplitVirtqueue
  readonly layout: RingLayout
}

const INDIRECT_AT = 0x8000

export function layoutAt(gpa: number, size: number): RingLayout {
  return { size, descGpa: gpa, availGpa: gpa + 0x4000, usedGpa: gpa + 0x6000 }
}

/** A ring at the start of `memory`. With `indirect` its tables follow the rings. */
export function makeRing(t: Test, memory: GuestMemory, options: RingOptions = {}): Ring {
  const { size = 16, eventIdx = false, indirect = false, gpa = 0, base = 0 } = options
  const layout = layoutAt(gpa, size)
  const driver = new DriverVirtqueue(memory, layout, eventIdx, indirect ? gpa + INDIRECT_AT : undefined)
  const device = new SplitVirtqueue(memory, layout, eventIdx, indirect, base)
  t.teardown(() => {
    driver.close()
    device.close()
  })
  return { driver, device, layout }
}

export const NEXT = 1
export const WRITE = 2
export const INDIRECT = 4

/** A descriptor as in virtio 1.3, 2.7.5. */
export interface Descriptor {
  readonly gpa: number
  readonly lenBytes: number
  readonly flags?: number
  readonly next?: number
}

/** The 16 bytes of a descriptor, as words. */
export function wordsOf({ gpa, lenBytes, flags = 0, next = 0 }: Descriptor): number[] {
  return [gpa % 2 ** 32, Math.floor(gpa / 2 ** 32), lenBytes, flags | (next << 16)]
}

/** Puts descriptors into the main table, from index 0 on, and makes `head` available. Checks nothing. */
export function offer({ driver }: Ring, descriptors: readonly Descriptor[], head = 0): void {
  descriptors.forEach((descriptor, n) => {
    driver.desc.set(wordsOf(descriptor), 4 * n)
  })
  driver.publish(head)
}

/** The words of a table for guest memory, as bytes. */
export function tableOf(descriptors: readonly Descriptor[]): Uint8Array {
  return new Uint8Array(Int32Array.from(descriptors.flatMap(wordsOf)).buffer)
}
