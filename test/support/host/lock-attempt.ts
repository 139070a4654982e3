import { spawnSync } from 'node:child_process'

const calls = { flock: 'flock', fcntl: 'lockf' } as const

/** Tries to take a lock from a process of the host. Returns "taken", or "busy" if another one holds it. */
export function attemptLock(kind: keyof typeof calls, file: string): string {
  const script = `import fcntl
try:
    fcntl.${calls[kind]}(open("${file}", "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("taken")
except BlockingIOError:
    print("busy")`
  return spawnSync('python3', ['-c', script]).stdout.toString().trim()
}
