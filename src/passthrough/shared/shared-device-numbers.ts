import { StateError } from 'vhost-user-ts'
import type { StatxWords } from 'virtio-fs-ts/protocol'
import { type DeviceNumbers, FIRST_DEVICE, type MountFds } from '../inodes/device-numbers.js'
import { statxDevMajor, statxDevMinor, statxMountId } from '../inodes/statx.js'

/** A row. */
const NUMBER = 0
const MAJOR = 1
/** The major number of a row whose device has no inodes any more. */
const ENDED = -1
const MINOR = 2
const MOUNT = 3
/** The inodes on the device. */
const INODES = 4
/** The descriptor by which handles are opened, plus 1; 0: there is none. */
const MOUNT_FD = 5
const EACH = 8

/** Devices that the guest's inodes are on at the same time, at most. */
const ROWS = 8192

/** Behind the rows: the last number given, the end of the rows in use, and a word that changes when a number ends. */
const LAST = ROWS * EACH
const END = LAST + 1
const CHANGES = LAST + 2
const NO_ROW = -1

/** The device numbers of tables that threads share. All but a look at the last device is done under their lock. */
export class SharedDeviceNumbers implements DeviceNumbers {
  static readonly WORDS = ROWS * EACH + 16
  private last = { major: -1, minor: -1, mountId: -1, device: 0, changes: 0 }
  readonly mounts: MountFds

  /** `words`: WORDS numbers, 0 at first. `lock` and `unlock` are those of the tables. */
  constructor(
    private readonly words: Int32Array,
    private readonly guard: { lock(): void; unlock(): void },
  ) {
    this.mounts = {
      get: (device) => this.mountOf(device),
      has: (device) => this.mountOf(device) !== undefined,
      set: (device, fd) => this.setMount(device, fd + 1),
      delete: (device) => this.setMount(device, 0),
      keys: () => this.rows().flatMap((row) => (words[row + MOUNT_FD] > 0 ? [words[row + NUMBER]] : [])),
    }
  }

  numberOf(st: StatxWords): number {
    const { last, words } = this
    const major = statxDevMajor(st)
    const minor = statxDevMinor(st)
    const mountId = statxMountId(st)
    const isLast = last.major === major && last.minor === minor && last.mountId === mountId
    if (isLast && last.changes === words[CHANGES]) return last.device
    this.guard.lock()
    const known = this.find(major, minor, mountId)
    const row = known >= 0 ? known : this.add(major, minor, mountId)
    const device = row < 0 ? 0 : words[row + NUMBER]
    if (row >= 0) this.last = { major, minor, mountId, device, changes: words[CHANGES] }
    this.guard.unlock()
    return device
  }

  numbersOf(st: StatxWords): number[] {
    const { words } = this
    this.guard.lock()
    const rows = this.rows().filter(
      (row) => words[row + MAJOR] === statxDevMajor(st) && words[row + MINOR] === statxDevMinor(st),
    )
    const numbers = rows.map((row) => words[row + NUMBER])
    this.guard.unlock()
    return numbers
  }

  enter(device: number): void {
    const row = this.rowOf(device)
    if (row >= 0) this.words[row + INODES]++
  }

  leave(device: number): boolean {
    const { words } = this
    const row = this.rowOf(device)
    if (row < 0 || --words[row + INODES] > 0) return false
    // Its mount descriptor is looked for once more, to be closed.
    words[row + MAJOR] = ENDED
    words[CHANGES]++
    return true
  }

  get changes(): number {
    return this.words[CHANGES]
  }

  isUsed(device: number): boolean {
    this.guard.lock()
    const row = this.rowOf(device)
    const isUsed = row >= 0 && this.words[row + MAJOR] !== ENDED
    this.guard.unlock()
    return isUsed
  }

  get known(): ReadonlyMap<string, number> {
    const { words } = this
    return new Map(
      this.rows()
        .filter((row) => words[row + MAJOR] !== ENDED)
        .map((row) => [
          `${words[row + MAJOR]}:${words[row + MINOR]}:${words[row + MOUNT]}`,
          words[row + NUMBER],
        ]),
    )
  }

  adopt(devices: Iterable<readonly [key: string, device: number]>): void {
    const { words } = this
    this.guard.lock()
    for (const [key, device] of devices) {
      const [major = 0, minor = 0, mountId = 0] = key.split(':').map(Number)
      const own = this.find(major, minor, mountId)
      const row = own >= 0 ? own : this.add(major, minor, mountId)
      if (row < 0) throw new StateError(`more than ${ROWS} devices`)
      words[row + NUMBER] = device
      words[LAST] = Math.max(words[LAST], device)
    }
    this.guard.unlock()
  }

  clear(): void {
    const changes = this.words[CHANGES]
    this.words.fill(0)
    this.words[CHANGES] = changes + 1
  }

  private find(major: number, minor: number, mountId: number): number {
    const { words } = this
    for (let row = 0; row < words[END]; row += EACH)
      if (words[row + MAJOR] === major && words[row + MINOR] === minor && words[row + MOUNT] === mountId)
        return row
    return NO_ROW
  }

  /** Returns a new row, or NO_ROW if there is none left. */
  private add(major: number, minor: number, mountId: number): number {
    const { words } = this
    let row = 0
    while (row < words[END] && words[row + MAJOR] !== ENDED) row += EACH
    if (row === ROWS * EACH) row = this.unusedRow()
    if (row === NO_ROW) return NO_ROW
    words[END] = Math.max(words[END], row + EACH)
    words[LAST] = Math.max(FIRST_DEVICE, words[LAST] + 1)
    words.set([words[LAST], major, minor, mountId, 0, 0], row)
    return row
  }

  /** Ends a device that has a number and no inodes: the guest was refused the file for which it got one. */
  private unusedRow(): number {
    const { words } = this
    for (let row = 0; row < words[END]; row += EACH) {
      if (words[row + INODES] !== 0 || words[row + MOUNT_FD] !== 0) continue
      words[CHANGES]++
      return row
    }
    return NO_ROW
  }

  private rowOf(device: number): number {
    for (let row = 0; row < this.words[END]; row += EACH) if (this.words[row + NUMBER] === device) return row
    return NO_ROW
  }

  private mountOf(device: number): number | undefined {
    const row = this.rowOf(device)
    const fd = row < 0 ? 0 : this.words[row + MOUNT_FD]
    return fd === 0 ? undefined : fd - 1
  }

  private setMount(device: number, value: number): void {
    const row = this.rowOf(device)
    if (row >= 0) this.words[row + MOUNT_FD] = value
  }

  /** Where the rows begin. */
  private rows(): number[] {
    return Array.from({ length: this.words[END] / EACH }, (_, n) => n * EACH)
  }
}
