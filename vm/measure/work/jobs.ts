import { loudMessages } from '../../guest/kernel-log.js'
import { lockAcross } from './host-locks.js'
import { killSqlite } from './sqlite-kill.js'
import type { Workplace } from './workplace.js'

/** One piece of work. It rejects if a check fails. */
export interface Job {
  readonly name: string
  /** A description of the work and its checks. */
  readonly story: string
  run(place: Workplace): Promise<void>
}

const SCRIPT_TIMEOUT_MS = 1_200_000

/** Makes a job from one of scripts/, with variables for it. */
export function scriptJob(
  name: string,
  story: string,
  variables: Readonly<Record<string, number>> = {},
): Job {
  return { name, story, run: (place) => place.run(name, variables, SCRIPT_TIMEOUT_MS) }
}

export const sqliteKill: Job = {
  name: 'sqlite-kill',
  story: 'the guest killed under 3 writers; integrity_check, every committed row',
  run: killSqlite,
}

/** The jobs in their order; a job that killed its guest leaves a new one. */
export const jobs: readonly Job[] = [
  scriptJob('git', 'import of 1000 commits, two clones, checkouts, gc, fsck --strict', { COMMITS: 1_000 }),
  scriptJob('npm', 'npm ci from a cache on the share: 323 packages, as npm unpacks them on the host'),
  scriptJob('c-build', 'make -j4 of Lua, which runs; make finds nothing to do, then what changed'),
  scriptJob('sqlite', 'WAL, 3 writers and a reader at a time, vacuum; integrity_check', {
    WRITERS: 3,
    ROWS: 100,
  }),
  sqliteKill,
  scriptJob('postgres', 'initdb, pgbench with 4 clients, a crash, recovery; sums and checksums', {
    TRANSACTIONS: 100,
  }),
  scriptJob('rsync', '-aHAXS there and back; all that stat, getfacl and getfattr tell'),
  scriptJob('tar', 'xattrs, ACLs, capabilities, hard links, holes, devices, fifos, times'),
  scriptJob('overlay', 'the upper directory, by trusted.* and by user.* attributes; remounted'),
  scriptJob('chattr', 'lsattr shows what chattr set; +i and +a refuse what they must'),
  { name: 'flock', story: 'guest and host keep each other out; who waits gets it', run: lockAcross },
  { name: 'kernel-log', story: "no complaint of the guest's kernel", run: expectQuietKernel },
]

export function jobNamed(wanted: string): Job {
  const job = jobs.find(({ name }) => name === wanted)
  if (job === undefined) throw new Error(`there is no job ${wanted}`)
  return job
}

async function expectQuietKernel(place: Workplace): Promise<void> {
  const loud = loudMessages(await (await place.guest()).kernelLog())
  if (loud.length > 0) throw new Error(loud.join('\n'))
}
