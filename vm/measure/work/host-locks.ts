import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PATIENCE_MS, type Workplace } from './workplace.js'

const DIRECTORY = 'flock'
/** The exit status of flock(1) if the lock is taken. */
const BUSY = 9

/**
 * Checks that flock(1) in the guest and on the host exclude each other, and that a waiting one gets the lock later.
 */
export async function lockAcross(place: Workplace): Promise<void> {
  const guest = await place.guest()
  const inGuest = async (words: string) =>
    (await guest.run(place.command(DIRECTORY, `flock ${words}`), { timeoutMs: PATIENCE_MS })).status
  const file = join(place.sharedDir, DIRECTORY, 'file')
  const made = (name: string) => existsSync(join(place.sharedDir, DIRECTORY, name))
  const tryOnHost = () => spawnSync('flock', ['-n', '-E', `${BUSY}`, file, 'true']).status

  expectStatus('the guest, when it is free', await inGuest(`-n -E ${BUSY} file true`), 0)
  const holder = await holdOnHost(file)
  try {
    expectStatus('the guest, while the host has it', await inGuest(`-n -E ${BUSY} file true`), BUSY)
    const waiting = guest.spawn(
      place.command(DIRECTORY, `touch asks && flock file sh -c "touch has; exec sleep 1000"`),
    )
    await until('the guest asks', () => made('asks'))
    await sleep(500)
    if (made('has')) throw new Error('the guest got the lock that the host holds')
    holder.kill()
    await until('the guest gets the lock', () => made('has'))
    expectStatus('the host, while the guest has it', tryOnHost(), BUSY)
    waiting.kill()
    await waiting.result
    await until('the lock ends with its process', () => tryOnHost() === 0)
  } finally {
    holder.kill()
  }
}

/** Resolves once a process holds the lock; it lives until it is killed. */
async function holdOnHost(file: string): Promise<ChildProcess> {
  const holder = spawn('flock', ['-F', file, 'sh', '-c', 'echo held; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve)
    holder.once('error', reject)
  })
  return holder
}

function expectStatus(who: string, status: number | null, expected: number): void {
  if (status !== expected) throw new Error(`${who}: flock ended with ${status}, expected ${expected}`)
}

async function until(what: string, happens: () => boolean): Promise<void> {
  for (const endMs = performance.now() + PATIENCE_MS; !happens(); await sleep(50))
    if (performance.now() > endMs) throw new Error(`waited in vain: ${what}`)
}
