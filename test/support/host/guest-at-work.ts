import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Guest, RunningCommand } from '../../../vm/guest/guest.js'
import { type FileLock, freeLocks, makeLocks } from '../../../vm/measure/migrations/host-locks.js'
import { type SharedDirectory, serve } from './real-guest.js'

/** Cache policies, each for a share of that name. */
export const policies = [
  { tag: 'never', args: ['--cache', 'never', '--allow-mmap'] },
  { tag: 'auto', args: ['--cache', 'auto'] },
  { tag: 'always', args: ['--cache', 'always'] },
  { tag: 'writeback', args: ['--cache', 'auto', '--writeback'] },
] as const

export const COMMON = ['--posix-lock', '--flock', '--keep-alive']

/** Serves a share for each policy. `more` returns further options of one. */
export async function serveEach(
  t: Test,
  more: (tag: string) => readonly string[] = () => [],
): Promise<SharedDirectory[]> {
  const shares: SharedDirectory[] = []
  for (const { tag, args } of policies) {
    shares.push(await serve(t, tag, [...args, ...COMMON, ...more(tag)]))
  }
  return shares
}

/** A model that checks the contents of files, and a lock of each kind, on each of the shares of `serveEach`. */
export class GuestAtWork {
  private readonly locks: readonly FileLock[]
  private readonly holders: readonly RunningCommand[]
  /** Directories on the host that the models make. */
  private readonly works: readonly string[]
  private readonly models: readonly (RunningCommand & { tag: string })[]

  /** Begins; each model works for `seconds`. */
  constructor(
    private readonly guest: Guest,
    shares: readonly SharedDirectory[],
    seconds: number,
  ) {
    this.locks = shares.flatMap(({ path, tag }) => makeLocks(path, `/${tag}`))
    this.holders = this.locks.map(({ holder }) => guest.spawn(holder))
    this.works = shares.map(({ path }) => join(path, 'work'))
    this.models = shares.map(({ tag }, n) => ({
      tag,
      ...guest.spawn(`file-soak /${tag}/work ${n + 1} 1 ${seconds}`),
    }))
  }

  /** Resolves once every lock is held and every model has begun. Rejects after two minutes. */
  async begun(): Promise<void> {
    for (let n = 0; n < 600; n++) {
      // To try the locks could keep the guest from taking one. Each holder begins to sleep when it has its lock.
      const held = Number(await this.guest.output('pidof sleep | wc -w'))
      if (held === this.locks.length && this.works.every((path) => existsSync(path))) return
      await sleep(200)
    }
    throw new Error('the work in the guest does not begin')
  }

  /** Checks that a process of the host gets none of the locks. */
  async expectHeld(t: Test, when: string): Promise<void> {
    t.same(await freeLocks(this.locks), [], `every lock is held ${when}`)
  }

  /** Waits for the end of the models, checks what they found, and gives the locks back. */
  async finish(t: Test): Promise<void> {
    for (const { tag, result } of this.models) {
      const { status, stderr } = await result
      t.equal(status, 0, `${tag}: every file was what it had to be ${stderr}`)
    }
    for (const holder of this.holders) holder.kill(9)
  }
}
