/** Guests that are saved and restored: inside QEMU, as savevm and loadvm do, and into a file, after the host changed files. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import { Snapshots } from '../../vm/guest/snapshots.js'
import { type FileLock, freeLocks, makeLocks } from '../../vm/measure/migrations/host-locks.js'
import {
  bootWith,
  expectQuietKernel,
  type SharedDirectory,
  serve,
  serveAgain,
} from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(900_000)

const KERNEL = '6.12'
const QEMU = '10'
const OPTIONS = ['--cache', 'auto', '--posix-lock', '--flock', '--keep-alive']
const FORGIVING = ['--migration-on-error', 'guest-error']

/** Waits until a process of the host can no longer take a lock that the guest holds. */
async function expectHeld(t: Test, locks: readonly FileLock[]): Promise<void> {
  let free = await freeLocks(locks)
  for (let n = 0; free.length > 0 && n < 100; n++) free = await freeLocks(locks)
  t.same(free, [], 'the locks are held on the host')
}

/** A guest that has files open, by a process that answers what it reads from them, and holds locks. */
async function busyGuest(t: Test, options: readonly string[]) {
  const share = await serve(t, 'share', options)
  const { path } = share
  writeFileSync(join(path, 'open'), '')
  writeFileSync(join(path, 'seen'), 'seen')
  const locks = makeLocks(path, '/share')
  mkdirSync(join(path, 'sub'))
  writeFileSync(join(path, 'sub', 'file'), 'below')
  const guest = await bootWith(t, [share], { kernel: KERNEL, qemu: QEMU })
  for (const { holder } of locks) guest.spawn(holder)
  // Lets a process of the guest write to a file that it has had open all the time.
  const writer = guest.converse(
    'cd /share/sub && exec 9<>/share/open && while read line; do echo $line >&9 && echo written || echo failed; done 2>/dev/null',
  )
  t.equal(await writer.ask('before'), 'written')
  t.equal(await guest.output('cat /share/seen /share/sub/file'), 'seenbelow')
  await expectHeld(t, locks)
  return { share, guest, writer, locks }
}

/** What the files of a guest hold now, and that it can make others. */
async function expectWork(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  t.equal(await guest.output('sleep 2; cat /share/seen; cat /share/sub/file'), 'seenbelow')
  await guest.output('echo made >/share/sub/made && sync')
  t.equal(readFileSync(join(path, 'sub', 'made'), 'utf8'), 'made\n')
}

t.test('savevm and loadvm: the guest is what it was, and the files are what they are', async (t) => {
  const { share, guest, writer, locks } = await busyGuest(t, [...OPTIONS, ...FORGIVING])
  const snapshots = await Snapshots.make(guest.qmp, join(tempDir(t), 'disk.qcow2'))
  await guest.output('echo one >/tmp/memory')
  await snapshots.save('first')
  await expectWork(t, guest, share)
  await expectHeld(t, locks)
  for (let n = 0; n < 3; n++) {
    await guest.output(
      `echo two >/tmp/memory; echo ${n} >/share/sub/later-${n}; mv /share/sub /share/other; sync`,
    )
    renameSync(join(share.path, 'other'), join(share.path, 'sub'))
    await snapshots.load('first')
    t.equal(await guest.output('cat /tmp/memory'), 'one\n', 'memory is that of the snapshot')
    t.equal(await writer.ask(`after-${n}`), 'written')
    t.match(readFileSync(join(share.path, 'open'), 'utf8'), `before\nafter-${n}\n`, 'the open file is open')
    t.equal(await guest.output(`sleep 2; cat /share/sub/later-${n}`), `${n}\n`, 'files are not')
    await expectWork(t, guest, share)
    await expectHeld(t, locks)
  }
  rmSync(join(share.path, 'open'))
  rmSync(join(share.path, 'seen'))
  writeFileSync(join(share.path, 'seen'), 'another')
  await snapshots.load('first')
  t.equal(await guest.output('sleep 2; cat /share/seen'), 'another')
  t.equal(await writer.ask('gone'), 'failed', 'the open file that is gone')
  await expectQuietKernel(t, guest)
})

t.test('a guest in a file is restored when files are gone or replaced, or that is refused', async (t) => {
  const { share, guest, writer, locks } = await busyGuest(t, OPTIONS)
  const { path } = share
  const file = join(tempDir(t), 'guest')
  await guest.save(file)
  t.equal(
    (await freeLocks([{ kind: 'flock', path: join(path, 'flock') }])).length,
    1,
    'nobody holds its locks now',
  )
  // Days later.
  rmSync(join(path, 'open'))
  renameSync(join(path, 'sub'), join(path, 'moved'))
  writeFileSync(join(path, 'new'), 'replaced')
  renameSync(join(path, 'new'), join(path, 'seen'))

  const strict = await serveAgain(t, path, OPTIONS)
  const restored = guest.restore(file, [strict.socketPath], QEMU)
  await t.rejects(restored, { name: 'GuestError' }, 'abort: QEMU ends')
  // Whichever of the two is looked for first.
  t.match(strict.log.join('\n'), /inodes that are not at their paths any more: \/(sub|open) \(ENOENT\)/)
  const forgiving = await serveAgain(t, path, [...OPTIONS, ...FORGIVING])
  await guest.restore(file, [forgiving.socketPath], QEMU)
  t.equal(await guest.output('sleep 2; cat /share/seen /share/moved/file'), 'replacedbelow')
  t.match((await guest.run('ls /share/sub')).stderr.toString(), /No such file/)
  t.equal(await writer.ask('gone'), 'failed')
  await expectHeld(t, locks)
  await guest.output('echo made >/share/made && sync')
  t.equal(readFileSync(join(path, 'made'), 'utf8'), 'made\n')
  await expectQuietKernel(t, guest)
})

t.test('a guest in a file goes on where nothing has changed', async (t) => {
  const { share, guest, writer, locks } = await busyGuest(t, OPTIONS)
  const file = join(tempDir(t), 'guest')
  const there = await serveAgain(t, share.path, OPTIONS)
  for (const { socketPath } of [there, share.device]) {
    await guest.save(file)
    await guest.restore(file, [socketPath], QEMU)
    t.equal(await writer.ask('on'), 'written')
    t.match(readFileSync(join(share.path, 'open'), 'utf8'), /on\n$/)
    await expectWork(t, guest, share)
    await expectHeld(t, locks)
  }
  await expectQuietKernel(t, guest)
})
