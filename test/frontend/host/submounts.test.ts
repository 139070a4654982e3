/** File systems mounted inside the share: two of 1 MiB, in a mount namespace of the device's own. Needs root. */
import { spawnSync } from 'node:child_process'
import { constants } from 'node:fs'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { ATTR_SUBMOUNT, flagBits, Init, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { type FuseGuest, LINUX_7_3 } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { pattern } from '../../support/pattern.js'

const { O_RDWR } = constants
const KIB = 1024
/** Runs before node, which comes as $0 with its arguments: the share is the third of them. */
const MOUNTS = [
  'for name in one two; do mkdir "$3/$name" && mount -t tmpfs -o size=1M,mode=777 none "$3/$name" || exit 1; done',
  'exec "$0" "$@"',
].join('; ')

if (spawnSync('unshare', ['-m', 'true']).status !== 0) t.plan(0, 'needs root: it mounts file systems')
else
  submountTests(await Device.start(t, ['--keep-alive'], { launcher: ['unshare', '-m', 'sh', '-c', MOUNTS] }))

function submountTests(device: Device): void {
  const enter = (fs: FuseGuest) => ['one', 'two'].map((name) => fs.lookup(ROOT_ID, name).nodeid)

  t.test('files with the same inode number on two mounts are two files', async (t) => {
    const fs = mount(t, device)
    const [one, two] = enter(fs)
    const made = [one, two].map((dir) => fs.mknod(dir, 'file', 0o100644))
    t.equal(made[0].attr.ino, made[1].attr.ino, 'both are the first file of their file system')
    t.not(made[0].nodeid, made[1].nodeid)
    t.equal(fs.setattr(made[0].nodeid, { size: 5 }).attr.size, 5n)
    t.equal(fs.getattr(made[1].nodeid).attr.size, 0n)
    for (const dir of [one, two]) fs.unlink(dir, 'file')
    fs.close()
  })

  t.test('mount points are announced, by LOOKUP and READDIRPLUS, and nothing else is', async (t) => {
    const fs = mount(t, device)
    const [one] = enter(fs)
    const plain = fs.mkdir(ROOT_ID, 'plain')
    const inside = fs.mkdir(one, 'inside')
    t.same(
      [plain, inside].map(({ attr }) => attr.flags),
      [0, 0],
    )
    t.same(
      ['one', 'two'].map((name) => fs.lookup(ROOT_ID, name).attr.flags),
      [ATTR_SUBMOUNT, ATTR_SUBMOUNT],
    )
    const { handle } = fs.opendir(ROOT_ID)
    const flags = new Map(
      fs.readdirplus(ROOT_ID, handle, 0).map(({ name, entry }) => [name, entry?.attr.flags]),
    )
    t.same(
      ['one', 'two', 'plain'].map((name) => flags.get(name)),
      [ATTR_SUBMOUNT, ATTR_SUBMOUNT, 0],
    )
    fs.init({ flags: LINUX_7_3.flags & ~flagBits(Init.SUBMOUNTS) })
    t.equal(fs.lookup(ROOT_ID, 'one').attr.flags, 0, 'a guest that does not know them')
    fs.rmdir(fs.lookup(ROOT_ID, 'one').nodeid, 'inside')
    fs.rmdir(ROOT_ID, 'plain')
    fs.close()
  })

  t.test('each mount has its own STATFS', async (t) => {
    const fs = mount(t, device)
    const [one] = enter(fs)
    const { blocks, bsize } = fs.statfs(one)
    t.equal(blocks * BigInt(bsize), BigInt(KIB * KIB))
    t.not(fs.statfs(ROOT_ID).blocks, blocks)
    fs.close()
  })

  t.test('a move or link from one mount to another gets EXDEV', async (t) => {
    const fs = mount(t, device)
    const [one, two] = enter(fs)
    const { nodeid } = fs.mknod(one, 'file', 0o100644)
    for (const to of [two, ROOT_ID]) {
      refused(t, 'EXDEV', () => fs.rename(one, 'file', to, 'moved'))
      refused(t, 'EXDEV', () => fs.rename2(one, 'file', to, 'moved', 0))
      refused(t, 'EXDEV', () => fs.link(nodeid, to, 'linked'))
    }
    refused(t, 'EBUSY', () => fs.rmdir(ROOT_ID, 'one'))
    fs.unlink(one, 'file')
    fs.close()
  })

  t.test(
    'one that is full: WRITE says how far it came, then ENOSPC; room that comes back is used',
    async (t) => {
      const fs = mount(t, device, { queueSize: 1024 })
      const [one] = enter(fs)
      const { nodeid, handle } = fs.create(one, 'file', O_RDWR)
      const data = pattern(600 * KIB, 1)
      t.equal(fs.write(nodeid, handle, 0, data), data.length)
      const more = fs.write(nodeid, handle, data.length, data)
      t.ok(more > 0 && more < data.length, `${more} bytes of ${data.length}`)
      refused(t, 'ENOSPC', () => fs.write(nodeid, handle, data.length + more, pattern(8 * KIB, 2)))
      refused(t, 'ENOSPC', () => fs.fallocate(nodeid, handle, 0, 2 * KIB * KIB))
      t.ok(Buffer.from(fs.read(nodeid, handle, data.length, data.length)).equals(data.subarray(0, more)))
      fs.setattr(nodeid, { size: 0, handle })
      t.equal(fs.write(nodeid, handle, 0, data), data.length)
      fs.release(nodeid, handle)
      fs.unlink(one, 'file')
      fs.close()
    },
  )
}
