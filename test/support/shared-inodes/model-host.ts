import type { HostFiles } from '../../../vm/measure/bench-queues/shared/shared-inodes.js'

const CLOSED = 0

/** A host of files 0, 1, ... in shared memory, which knows what each descriptor is open on. */
export class ModelHost implements HostFiles {
  private readonly open: Int32Array
  /** Set by the table's owner: the file of a row. */
  fileOf: (slot: number) => number = () => -1
  /** Descriptors that were closed twice, or used when they were not open on the file. */
  faults: string[] = []

  constructor(memory: SharedArrayBuffer) {
    this.open = new Int32Array(memory)
  }

  static bytes(descriptors: number): number {
    return 4 * descriptors
  }

  /** Opens a file. The descriptors that were closed last are used first, as on a real host: the lowest. */
  openFile(file: number): number {
    for (let fd = 0; fd < this.open.length; fd++)
      if (Atomics.compareExchange(this.open, fd, CLOSED, file + 1) === CLOSED) return fd
    throw new Error('the model has no descriptors left')
  }

  close(fd: number): void {
    if (Atomics.exchange(this.open, fd, CLOSED) === CLOSED) this.faults.push(`descriptor ${fd} closed twice`)
  }

  reopen(slot: number): number {
    return this.openFile(this.fileOf(slot))
  }

  /** What a system call on the descriptor would meet. */
  use(fd: number, file: number): void {
    const met = Atomics.load(this.open, fd)
    if (met !== file + 1) this.faults.push(`descriptor ${fd} of file ${file} is open on ${met - 1}`)
  }

  get openCount(): number {
    return this.open.reduce((count, file) => count + (file === CLOSED ? 0 : 1), 0)
  }
}
