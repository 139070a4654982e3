/** As in the CVEs of 9pfs: symbolic links and swapped directories do not lead a guest out of the share. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import t, { type Test } from 'tap'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'

const O_RDWR = 2
const O_TRUNC = 0o1000

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()
const outside = mkdtempSync(`${device.directory}-outside-`)
writeFileSync(`${outside}/secret`, 'secret')
mkdirSync(`${outside}/dir`)
t.teardown(() => rmSync(outside, { recursive: true }))

function assertOutsideUntouched(t: Test): void {
  t.same(readdirSync(outside).sort(), ['dir', 'secret'])
  t.same(readdirSync(`${outside}/dir`), [])
  t.equal(readFileSync(`${outside}/secret`, 'utf8'), 'secret')
}

t.test(
  'a link to a directory outside is a link: nothing is found, made, listed or removed through it',
  async (t) => {
    const fs = mount(t, device)
    const link = fs.symlink(ROOT_ID, 'to-dir', outside).nodeid
    const file = fs.mknod(ROOT_ID, 'file', 0o100644).nodeid
    for (const attempt of [
      () => fs.lookup(link, 'secret'),
      () => fs.create(link, 'new', O_RDWR),
      () => fs.mkdir(link, 'new'),
      () => fs.mknod(link, 'new', 0o100644),
      () => fs.symlink(link, 'new', 'x'),
      () => fs.link(file, link, 'new'),
      () => fs.unlink(link, 'secret'),
      () => fs.rmdir(link, 'dir'),
      () => fs.rename(link, 'secret', ROOT_ID, 'taken'),
      () => fs.rename(ROOT_ID, 'file', link, 'new'),
      () => fs.rename2(ROOT_ID, 'file', link, 'secret', 2),
      () => fs.open(link, 0),
    ])
      refused(t, 'EBADF', attempt, attempt.toString())
    refused(t, 'ENOTDIR', () => fs.opendir(link))
    assertOutsideUntouched(t)
    fs.unlink(ROOT_ID, 'file')
    fs.close()
  },
)

t.test('a link to a file outside is not opened, made, emptied or changed', async (t) => {
  const fs = mount(t, device)
  const link = fs.symlink(ROOT_ID, 'to-file', `${outside}/secret`).nodeid
  fs.symlink(ROOT_ID, 'to-new', `${outside}/new`)
  for (const [errno, attempt] of [
    ['EBADF', () => fs.open(link, O_RDWR | O_TRUNC)],
    ['ESTALE', () => fs.create(ROOT_ID, 'to-file', O_RDWR)],
    ['ESTALE', () => fs.create(ROOT_ID, 'to-file', O_RDWR | O_TRUNC)],
    ['ESTALE', () => fs.create(ROOT_ID, 'to-new', O_RDWR)],
    ['EEXIST', () => fs.mknod(ROOT_ID, 'to-new', 0o100644)],
    ['EEXIST', () => fs.mkdir(ROOT_ID, 'to-new')],
    ['EINVAL', () => fs.setattr(link, { size: 0 })],
  ] as const)
    refused(t, errno, attempt, attempt.toString())
  fs.setattr(link, { mtimeNs: 5n })
  fs.link(link, ROOT_ID, 'linked')
  t.equal(fs.readlink(fs.lookup(ROOT_ID, 'linked').nodeid), `${outside}/secret`)
  for (const name of ['linked', 'to-file', 'to-new']) fs.unlink(ROOT_ID, name)
  assertOutsideUntouched(t)
  fs.close()
})

t.test(
  'a directory that the host swaps for a link stays the directory that the guest looked up',
  async (t) => {
    const fs = mount(t, device)
    mkdirSync(`${device.directory}/swapped`)
    writeFileSync(`${device.directory}/swapped/inside`, '')
    const { nodeid } = fs.lookup(ROOT_ID, 'swapped')
    const { handle } = fs.opendir(nodeid)
    renameSync(`${device.directory}/swapped`, `${device.directory}/kept`)
    symlinkSync(outside, `${device.directory}/swapped`)
    refused(t, 'ENOENT', () => fs.lookup(nodeid, 'secret'))
    t.equal(fs.lookup(nodeid, 'inside').attr.size, 0n)
    fs.mkdir(nodeid, 'made')
    t.same(readdirSync(`${device.directory}/kept`).sort(), ['inside', 'made'])
    const names = fs.readdirplus(nodeid, handle, 0).map(({ name }) => name)
    t.same(names.sort(), ['.', '..', 'inside', 'made'])
    t.not(fs.lookup(ROOT_ID, 'swapped').nodeid, nodeid)
    assertOutsideUntouched(t)
    fs.close()
  },
)

t.test('a directory that leaves the share has no way up from there', async (t) => {
  const fs = mount(t, device)
  mkdirSync(`${device.directory}/leaves`)
  const { nodeid } = fs.lookup(ROOT_ID, 'leaves')
  renameSync(`${device.directory}/leaves`, `${outside}/dir/left`)
  for (const name of ['..', '../../secret']) refused(t, 'EINVAL', () => fs.lookup(nodeid, name))
  t.equal(fs.lookup(nodeid, '.').nodeid, nodeid, 'it is what the guest has')
  rmSync(`${outside}/dir/left`, { recursive: true })
  assertOutsideUntouched(t)
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
