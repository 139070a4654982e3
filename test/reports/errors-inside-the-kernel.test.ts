/**
 * Some file systems of the host let errors out that are meant for the kernel alone: 524 (ENOTSUPP) for what NFS servers do not
 * support, and others from 512 on. FUSE knows no errors from 512 on: Linux takes a reply with one for broken, or would begin
 * the call again.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { setxattr } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

const FAILING_CALLS = fileURLToPath(new URL('../../../test/support/host/failing-calls.c', import.meta.url))
const O_RDWR = 2

const errors: Readonly<Record<number, string>> = {
  511: 'errno 511',
  512: 'EIO',
  516: 'EIO',
  521: 'EIO',
  524: 'ENOTSUP',
  530: 'EIO',
}

for (const [errno, code] of Object.entries(errors)) {
  t.test(`${errno} of the host is ${code} to the guest`, async (t) => {
    const library = join(tempDir(t), 'failing-calls.so')
    const args = ['-std=gnu11', '-O2', '-Wall', '-Werror', '-shared', '-fPIC', '-o', library, FAILING_CALLS]
    t.equal(spawnSync('cc', args, { stdio: 'inherit' }).status, 0)
    const device = await Device.start(t, [], {
      launcher: ['env', `LD_PRELOAD=${library}`, `FAILING_ERRNO=${errno}`],
    })
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    refused(t, code, () => fs.fallocate(nodeid, handle, 0, 4096))
    refused(t, code, () => setxattr(fs, nodeid, 'user.a', new Uint8Array(1)))
  })
}
