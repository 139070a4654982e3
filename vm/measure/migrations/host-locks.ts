import { runCommand } from '../../host/command.js'

export type LockKind = 'flock' | 'fcntl'

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
export async function freeLocks<T extends { kind: LockKind; path: string }>(
  locks: readonly T[],
): Promise<T[]> {
  const args = locks.flatMap(({ kind, path }) => [kind, path])
  const answers = (await runCommand('python3', ['-c', TRY, ...args])).split('\n')
  return locks.filter((_, n) => answers[n] !== 'held')
}
