import { ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { tempDir } from './temp-dir.js'

/** Makes files for guest memory that can be truncated, unlike those of QEMU's memory-backend-memfd. */
export class MemoryFiles {
  readonly fds: number[] = []
  private readonly directory: string

  constructor(t: Test) {
    this.directory = tempDir(t)
  }

  readonly make = (sizeBytes: number): number => {
    const fd = openSync(join(this.directory, `${this.fds.length}`), 'w+')
    ftruncateSync(fd, sizeBytes)
    this.fds.push(fd)
    return fd
  }

  /** Takes the memory away under the guest and the device. */
  truncate(): void {
    for (const fd of this.fds) ftruncateSync(fd, 0)
  }
}
