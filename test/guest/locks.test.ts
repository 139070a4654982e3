/** Locks of processes in a guest and on the host exclude each other, and end with the guest. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { serveDebianRoot } from '../../vm/debian-root.js'
import { sleep } from '../support/device.js'
import { bootWith, expectQuietKernel, serve } from '../support/real-guest.js'

t.setTimeout(900_000)

const WAIT_MS = 20_000
const KINDS = ['flock', 'lockf'] as const
type Kind = (typeof KINDS)[number]

/** Takes a lock, makes the file `taken` to say so, and holds the lock until it is killed. */
const hold = (kind: Kind, file: string, taken: string) =>
  `import fcntl, time; f = open("${file}", "r+"); fcntl.${kind}(f, fcntl.LOCK_EX); open("${taken}", "w"); time.sleep(1000)`

/** Tries to take a lock; prints what came of it. */
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

for (const { kernel, qemu } of [
  { kernel: '6.12', qemu: '10' },
  { kernel: '7', qemu: '11' },
]) {
  t.test(`Linux ${kernel}`, async (t) => {
    const share = await serve(t, 'files', ['--posix-lock', '--flock', '--keep-alive'])
    chmodSync(share.path, 0o755)
    const [file, taken] = ['file', 'taken'].map((name) => join(share.path, name))
    writeFileSync(file, 'text')
    const guest = await bootWith(t, [share], { kernel, qemu, more: [root.share] })
    await root.enter(guest, '/files')
    const python = (script: string) => root.command(`python3 -c '${script}'`)
    const inGuest = async (script: string) => (await guest.output(python(script))).trim()

    for (const kind of KINDS) {
      const holder = spawn('python3', ['-c', hold(kind, file, taken)])
      t.ok(await until(() => existsSync(taken)), `${kind}: the host holds it`)
      rmSync(taken)
      t.equal(await inGuest(attempt(kind, '/mnt/file')), 'busy')
      const waiting = guest.spawn(python(hold(kind, '/mnt/file', '/mnt/taken')))
      t.equal(await guest.output('cat /files/file; echo more > /files/other; cat /files/other'), 'textmore\n')
      t.notOk(existsSync(taken), 'who waits does not hold up others')
      holder.kill('SIGKILL')
      t.ok(await until(() => existsSync(taken)), 'and gets it')
      rmSync(taken)
      t.equal(onHost(attempt(kind, file)), 'busy', 'the guest holds it')
      waiting.kill(9)
      await waiting.result
      t.equal(onHost(attempt(kind, file)), 'taken', 'given up with its process')
    }

    const holder = spawn('python3', ['-c', hold('lockf', file, taken)])
    t.ok(await until(() => existsSync(taken)))
    guest.spawn(python(hold('lockf', '/mnt/file', '/mnt/never'))).result.catch(() => {})
    guest.spawn(python(hold('flock', '/mnt/other', '/mnt/also'))).result.catch(() => {})
    t.ok(await until(() => existsSync(join(share.path, 'also'))))
    await expectQuietKernel(t, guest)
    await guest.kill()
    t.ok(
      await until(() => onHost(attempt('flock', join(share.path, 'other'))) === 'taken'),
      'a guest that is gone holds nothing',
    )
    holder.kill('SIGKILL')
    t.ok(await until(() => onHost(attempt('lockf', file)) === 'taken'), 'nor does it get what it waited for')
    t.notOk(existsSync(join(share.path, 'never')))
  })
}
