/** A /proc within the share: its links lead to the root, to files and to programs of the device itself. None is followed. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'

const [O_RDONLY, O_RDWR, O_TRUNC] = [0, 2, 0o1000]
const skip = isRoot ? {} : { skip: 'needs root: mounts' }

for (const sandbox of ['none', 'namespace'] as const) {
  t.test(`with --sandbox ${sandbox}`, skip, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'vfs-share-'))
    const proc = join(directory, 'proc')
    mkdirSync(proc)
    execFileSync('mount', ['-t', 'proc', 'proc', proc])
    t.teardown(() => {
      execFileSync('umount', ['--lazy', proc])
      rmSync(directory, { recursive: true })
    })
    const device = await Device.start(t, ['--keep-alive'], { directory, sandbox })
    const fs = mount(t, device)
    const held = device.openFiles().sort()
    const top = fs.lookup(ROOT_ID, 'proc').nodeid
    const own = fs.lookup(top, `${device.pid}`).nodeid
    const descriptors = fs.lookup(own, 'fd').nodeid
    const links = [
      ...['self', 'thread-self', 'mounts'].map((name) => fs.lookup(top, name)),
      ...['root', 'cwd', 'exe'].map((name) => fs.lookup(own, name)),
      ...['0', '1', '2'].map((name) => fs.lookup(descriptors, name)),
    ]
    for (const { nodeid, attr } of links) {
      t.equal(attr.mode & 0o170000, 0o120000, 'a link')
      refused(t, 'EBADF', () => fs.open(nodeid, O_RDONLY))
      refused(t, 'EBADF', () => fs.open(nodeid, O_RDWR | O_TRUNC))
      refused(t, 'ENOTDIR', () => fs.opendir(nodeid))
      refused(t, 'EBADF', () => fs.lookup(nodeid, 'etc'))
      refused(t, 'EBADF', () => fs.mkdir(nodeid, 'made'))
      refused(t, 'EINVAL', () => fs.setattr(nodeid, { size: 0 }))
    }
    for (const name of ['root', 'cwd']) {
      refused(t, 'ESTALE', () => fs.create(own, name, O_RDWR))
      refused(t, 'EINVAL', () => fs.lookup(own, `${name}/etc`))
    }
    fs.forgetAll()
    t.same(device.openFiles().sort(), held, 'nothing more is open')
    fs.close()
  })
}
