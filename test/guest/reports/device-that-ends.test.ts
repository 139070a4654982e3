/** A device that ends under a guest, and read-only shares, as docs/coherency.md describes them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { bootWith, newerPairs, serve } from '../../support/host/real-guest.js'

const WAIT_MS = 5_000

t.setTimeout(600_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}: a read-only share, then one whose device ends`, async (t) => {
    const dying = await serve(t, 'dying')
    const fixed = await serve(t, 'fixed', ['--readonly'])
    writeFileSync(join(fixed.path, 'file'), 'text')
    const guest = await bootWith(t, [dying, fixed], { kernel, qemu })

    const tries = 'can-write /fixed/file; (echo new > /fixed/file) 2> /dev/null || echo refused'
    t.equal(
      await guest.output(tries),
      'access: yes, statvfs: read-write\nrefused\n',
      'mounted rw: the mode bits decide',
    )
    await guest.output('umount /fixed')
    await guest.mount('fixed', '/fixed', 'ro')
    t.equal(
      await guest.output(tries),
      'access: Read-only file system, statvfs: read-only\nrefused\n',
      'mounted ro: the guest knows',
    )

    await guest.output('echo text > /dying/file')
    await dying.device.stop()
    const waiting = guest.spawn('cat /dying/file & echo $! > /tmp/pid; wait')
    await sleep(WAIT_MS)
    await guest.output('kill -9 $(cat /tmp/pid)')
    await sleep(WAIT_MS)
    t.match(
      await guest.output('cat /proc/$(cat /tmp/pid)/stat'),
      /\(cat\) [DZ] /,
      'it waits, and cannot be killed',
    )
    await guest.output('umount -l /dying', { timeoutMs: 20_000 })
    t.equal(await guest.output('echo lives'), 'lives\n', 'the guest itself goes on')
    waiting.kill(9)
    await guest.kill()
  })
}
