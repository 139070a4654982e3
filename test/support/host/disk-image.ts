import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { Test } from 'tap'

const MIB = 1024 * 1024

/** Runs a command. Returns true if it ends with status 0. */
function run(command: string, ...args: string[]): boolean {
  return spawnSync(command, args).status === 0
}

/** An ext4 on a loop device, mounted at `directory` while the test runs. The host can hold it still. */
export class DiskImage {
  private constructor(private readonly directory: string) {}

  /** Returns undefined where this is not possible: it needs root, mkfs.ext4, fsfreeze and a loop device. */
  static mount(t: Test, directory: string, image: string): DiskImage | undefined {
    writeFileSync(image, '')
    mkdirSync(directory)
    const mounted =
      run('truncate', '-s', String(64 * MIB), image) &&
      run('mkfs.ext4', '-q', image) &&
      run('mount', '-o', 'loop', image, directory)
    if (!mounted) return undefined
    const disk = new DiskImage(directory)
    t.teardown(() => {
      disk.unfreeze()
      run('umount', directory)
    })
    return disk.freeze() && disk.unfreeze() ? disk : undefined
  }

  /** Empties the host's cache of its names, as far as they are not in use. */
  dropNames(): boolean {
    return run('mount', '-o', 'remount', this.directory)
  }

  /** Whatever would change it waits. */
  freeze(): boolean {
    return run('fsfreeze', '--freeze', this.directory)
  }

  unfreeze(): boolean {
    return run('fsfreeze', '--unfreeze', this.directory)
  }
}
