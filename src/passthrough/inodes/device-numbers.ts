import type { StatxWords } from 'virtio-fs-ts/protocol'
import { statxDevMajor, statxDevMinor, statxMountId } from './statx.js'

/** The number of the shared directory's device: it is known before others. */
export const FIRST_DEVICE = 1

/** Our own small numbers for the host's devices, one for each mount by which the guest knows its inodes. */
export interface DeviceNumbers {
  /** The number of the device of `st`, a new one on first use; 0 if there are too many. */
  numberOf(st: StatxWords): number
  /** The numbers of the device of `st`, whatever the mount. */
  numbersOf(st: StatxWords): number[]
  /** One more inode is on a device. */
  enter(device: number): void
  /** One inode less is. Returns true if that was the last: the number is not used again for now. */
  leave(device: number): boolean
  /** Changes when a number ends that other threads may remember. */
  readonly changes: number
  /** Returns true if a number stands for a device, and has not ended. */
  isUsed(device: number): boolean
  /** Devices by "major:minor:mount". */
  readonly known: ReadonlyMap<string, number>
  /** Takes over the devices of another table, in which the root's is the same. Throws RangeError for numbers that cannot be. */
  adopt(devices: Iterable<readonly [key: string, device: number]>): void
  /** Descriptors by which file handles of a device are opened. */
  readonly mounts: MountFds
  clear(): void
}

/** Descriptors by device. A Map is one. */
export interface MountFds {
  get(device: number): number | undefined
  has(device: number): boolean
  set(device: number, fd: number): unknown
  delete(device: number): unknown
  keys(): Iterable<number>
}

/** Device numbers of one thread. */
export class OwnDeviceNumbers implements DeviceNumbers {
  private readonly numbers = new Map<string, number>()
  private next = FIRST_DEVICE
  /** Number of inodes on each device. */
  private readonly inodes = new Map<number, number>()
  private last = { major: -1, minor: -1, mountId: -1, device: 0 }
  readonly mounts: MountFds = new Map<number, number>()
  /** There are no other threads. */
  readonly changes = 0

  isUsed(): boolean {
    return true
  }

  numberOf(st: StatxWords): number {
    const { last } = this
    const major = statxDevMajor(st)
    const minor = statxDevMinor(st)
    const mountId = statxMountId(st)
    if (last.major === major && last.minor === minor && last.mountId === mountId) return last.device
    const key = `${major}:${minor}:${mountId}`
    let device = this.numbers.get(key)
    if (device === undefined) {
      device = this.next++
      this.numbers.set(key, device)
    }
    this.last = { major, minor, mountId, device }
    return device
  }

  numbersOf(st: StatxWords): number[] {
    const prefix = `${statxDevMajor(st)}:${statxDevMinor(st)}:`
    return [...this.numbers].flatMap(([key, device]) => (key.startsWith(prefix) ? [device] : []))
  }

  enter(device: number): void {
    this.inodes.set(device, (this.inodes.get(device) ?? 0) + 1)
  }

  leave(device: number): boolean {
    const left = (this.inodes.get(device) ?? 0) - 1
    this.inodes.set(device, left)
    if (left > 0) return false
    this.inodes.delete(device)
    for (const [key, other] of this.numbers) if (other === device) this.numbers.delete(key)
    this.forgetLast()
    return true
  }

  get known(): ReadonlyMap<string, number> {
    return this.numbers
  }

  adopt(devices: Iterable<readonly [key: string, device: number]>): void {
    for (const [key, device] of devices) {
      this.numbers.set(key, device)
      this.next = Math.max(this.next, device + 1)
    }
  }

  clear(): void {
    this.numbers.clear()
    this.next = FIRST_DEVICE
    this.inodes.clear()
    this.forgetLast()
  }

  private forgetLast(): void {
    this.last = { major: -1, minor: -1, mountId: -1, device: 0 }
  }
}
