import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../host/command.js'

const KINDS = ['flock', 'fcntl'] as const

/** A lock on a file of a share. */
export interface FileLock {
  readonly kind: (typeof KINDS)[number]
  /** The file, on the host. */
  readonly path: string
  /** A command of the guest, which holds the lock until it is killed. */
  readonly holder: string
}

/** Makes a file for each kind of lock in a directory, which the guest sees at `place`. */
export function makeLocks(directory: string, place: string): readonly FileLock[] {
  return KINDS.map((kind) => {
    const path = join(directory, kind)
    writeFileSync(path, '')
    return { kind, path, holder: `lock-file ${kind} ${place}/${kind} sleep 1000000` }
  })
}

/** Tries each `KIND FILE` of its arguments and prints whether another process has the lock. Node has neither call. */
const TRY = `
import fcntl, sys
for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):
    take = fcntl.flock if kind == "flock" else fcntl.lockf
    try:
        take(open(path, "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("free")
    except BlockingIOError:
        print("held")`

/** Tries to take locks as a process of the host. Returns those that it gets: nobody else holds them. */
export async function freeLocks<T extends Pick<FileLock, 'kind' | 'path'>>(
  locks: readonly T[],
): Promise<T[]> {
  const args = locks.flatMap(({ kind, path }) => [kind, path])
  const answers = (await runCommand('python3', ['-c', TRY, ...args])).split('\n')
  return locks.filter((_, n) => answers[n] !== 'held')
}
