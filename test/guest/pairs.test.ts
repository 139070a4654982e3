/** Pairs of a kernel and a QEMU that no other test has: a share is mounted, written, read and unmounted. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bootWith, expectQuietKernel, serve } from '../support/host/real-guest.js'

const others = [
  { kernel: '6.1', qemu: '10' },
  { kernel: '6.12', qemu: '7.2' },
  { kernel: '7', qemu: '7.2' },
  { kernel: '7', qemu: '10' },
]

t.setTimeout(600_000)

for (const { kernel, qemu } of others) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const share = await serve(t, 'files')
    writeFileSync(join(share.path, 'from-host'), 'host')
    const guest = await bootWith(t, [share], { kernel, qemu })
    t.equal(await guest.output('cat /files/from-host'), 'host')
    await guest.output(
      'dd if=/dev/urandom of=/files/data bs=1M count=8 2>/dev/null && cp /files/data /files/copy && sync',
    )
    t.same(readFileSync(join(share.path, 'copy')), readFileSync(join(share.path, 'data')))
    await guest.output('umount /files')
    await expectQuietKernel(t, guest)
    await guest.shutdown()
    t.same(
      await share.device.exited,
      { status: 0, signal: null },
      'the device ends when its front-end leaves',
    )
    t.notOk(existsSync(share.device.socketPath))
  })
}
