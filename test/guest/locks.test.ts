/** Locks of processes in a guest and on the host exclude each other, and end with the guest. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { serveDebianRoot } from '../../vm/device/debian-root.js'
import { sleep } from '../support/device/device.js'
import { bootWith, expectQuietKernel, newerPairs, serve } from '../support/host/real-guest.js'

t.setTimeout(900_000)

const WAIT_MS = 20_000
const KINDS = ['flock', 'lockf'] as const
type Kind = (typeof KINDS)[number]

/** Makes the file STEP.asks, takes a lock, makes STEP.has, and holds the lock until it is killed. */
const hold = (kind: Kind, file: string, step: string) => `
import fcntl, time
f = open("${file}", "r+")
open("${step}.asks", "w")
fcntl.${kind}(f, fcntl.LOCK_EX)
open("${step}.has", "w")
time.sleep(1000)
`

/** Tries to take a lock. Prints the result. */
const attempt = (kind: Kind, file: string) => `
import fcntl
try:
    fcntl.${kind}(open("${file}", "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("taken")
except BlockingIOError:
    print("busy")
`

const onHost = (script: string) => spawnSync('python3', ['-c', script], { encoding: 'utf8' }).stdout.trim()

async function until(happens: () => boolean): Promise<boolean> {
  for (const endMs = performance.now() + WAIT_MS; !happens(); await sleep(20))
    if (performance.now() > endMs) return false
  return true
}

const root = await serveDebianRoot()
t.teardown(() => root.stop())

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const share = await serve(t, 'files', ['--posix-lock', '--flock', '--keep-alive'])
    chmodSync(share.path, 0o755)
    const file = join(share.path, 'file')
    writeFileSync(file, 'text')
    // Each step has files of its own, because a guest may know the name of a removed file for another second.
    const made = (name: string) => existsSync(join(share.path, name))
    const holdOnHost = (kind: Kind, step: string) =>
      spawn('python3', ['-c', hold(kind, file, join(share.path, step))])
    const guest = await bootWith(t, [share], { kernel, qemu, more: [root.share] })
    await root.enter(guest, '/files')
    const python = (script: string) => root.command(`python3 -c '${script}'`)
    const inGuest = async (script: string) => (await guest.output(python(script))).trim()
    const holdInGuest = (kind: Kind, name: string, step: string) =>
      guest.spawn(python(hold(kind, `/mnt/${name}`, `/mnt/${step}`)))

    for (const kind of KINDS) {
      const [ofHost, ofGuest] = [`${kind}-host`, `${kind}-guest`]
      const holder = holdOnHost(kind, ofHost)
      t.ok(await until(() => made(`${ofHost}.has`)), `${kind}: the host holds it`)
      t.equal(await inGuest(attempt(kind, '/mnt/file')), 'busy')
      const waiting = holdInGuest(kind, 'file', ofGuest)
      t.ok(await until(() => made(`${ofGuest}.asks`)), 'the guest asks for it')
      t.equal(await guest.output('cat /files/file; echo more > /files/other; cat /files/other'), 'textmore\n')
      t.notOk(made(`${ofGuest}.has`), 'who waits does not hold up others')
      holder.kill('SIGKILL')
      t.ok(await until(() => made(`${ofGuest}.has`)), 'and gets it')
      t.equal(onHost(attempt(kind, file)), 'busy', 'the guest holds it')
      waiting.kill(9)
      await waiting.result
      t.equal(onHost(attempt(kind, file)), 'taken', 'given up with its process')
    }

    const holder = holdOnHost('lockf', 'last-host')
    t.ok(await until(() => made('last-host.has')))
    holdInGuest('lockf', 'file', 'never').result.catch(() => {})
    holdInGuest('flock', 'other', 'also').result.catch(() => {})
    t.ok(await until(() => made('never.asks') && made('also.has')))
    await expectQuietKernel(t, guest)
    await guest.kill()
    t.ok(
      await until(() => onHost(attempt('flock', join(share.path, 'other'))) === 'taken'),
      'a guest that is gone holds nothing',
    )
    holder.kill('SIGKILL')
    t.ok(await until(() => onHost(attempt('lockf', file)) === 'taken'), 'nor does it get what it waited for')
    t.notOk(made('never.has'))
  })
}
