/** A process of a guest that waits for a lock cannot be killed; the device shows the wait, and ends it. */
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { ControlClient } from '../../support/device/control-client.js'
import { sleep } from '../../support/device/device.js'
import { bootWith, expectQuietKernel, newerPairs, serve } from '../../support/host/real-guest.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(900_000)

const { F_WRLCK, LOCK_EX } = native.constants
const O_RDWR = 2
const WAIT_MS = 30_000

interface Locks {
  readonly waiting: readonly { readonly id: number; readonly pid: number; readonly heldBy: string }[]
}

/** Waits for a lock on the file, and prints the result. */
const waitFor = (kind: 'lockf' | 'flock') => `
import errno, fcntl
try:
    fcntl.${kind}(open("/mnt/file", "r+"), fcntl.LOCK_EX)
    print("taken")
except OSError as error:
    print(errno.errorcode[error.errno])
`

const root = await serveDebianRoot()
t.teardown(() => root.stop())

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const controlPath = join(tempDir(t), 'control')
    const patient = await serve(t, 'patient', ['--posix-lock', '--flock', '--control-socket', controlPath])
    const brief = await serve(t, 'brief', ['--posix-lock', '--flock', '--lock-timeout', '2'])
    const hostFds = [patient, brief].map(({ path }) => {
      writeFileSync(join(path, 'file'), 'text')
      const fd = openSync(join(path, 'file'), O_RDWR)
      t.equal(native.setRangeLock(fd, F_WRLCK, 0, 0), 0)
      t.equal(native.flock(fd, LOCK_EX), 0)
      return fd
    })
    const guest = await bootWith(t, [patient, brief], { kernel, qemu, more: [root.share] })
    await root.enter(guest, '/brief')
    const python = (script: string) => root.command(`python3 -c '${script}'`)
    for (const kind of ['lockf', 'flock'] as const)
      t.equal((await guest.output(python(waitFor(kind)))).trim(), 'ETIMEDOUT', `--lock-timeout: ${kind}`)

    await guest.output('umount /debian/mnt && mount --bind /patient /debian/mnt')
    const control = await ControlClient.connect(t, controlPath)
    const waiting = guest.spawn(python(waitFor('lockf')))
    const endMs = performance.now() + WAIT_MS
    let locks = await control.ask<Locks>('locks')
    while (locks.waiting.length === 0 && performance.now() < endMs) {
      await sleep(50)
      locks = await control.ask<Locks>('locks')
    }
    const [lock] = locks.waiting
    t.equal(lock?.heldBy, 'outside of this guest')
    const isThere = `test -d /proc/${lock?.pid} && echo there || echo gone`
    t.equal(
      await guest.output(`kill -9 ${lock?.pid}; sleep 1; ${isThere}`),
      'there\n',
      'a signal ends nothing',
    )
    t.same(await control.ask('locks-release', lock?.id), { released: 1 })
    await waiting.result.catch(() => {})
    t.equal(await guest.output(isThere), 'gone\n', 'locks-release does')
    for (const fd of hostFds) closeSync(fd)
    await expectQuietKernel(t, guest)
  })
}
