/** --export: with LOOKUP of "." and ".." a guest finds inodes again that it has given away as file handles. */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { assertAttr, isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { EVERY_FLAG, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

const O_RDWR = 2
const offer = { init: { flags: EVERY_FLAG } }

t.test(
  '"." finds the inode itself, of any kind; ".." the directory above, which ends at the share',
  async (t) => {
    const device = await Device.start(t, ['--export'])
    const fs = mount(t, device, offer)
    const outer = fs.mkdir(ROOT_ID, 'outer').nodeid
    const inner = fs.mkdir(outer, 'inner').nodeid
    const file = fs.mknod(inner, 'file', 0o100644).nodeid
    for (const node of [inner, file, ROOT_ID]) t.equal(fs.lookup(node, '.').nodeid, node)
    assertAttr(fs.lookup(file, '.').attr, `${device.directory}/outer/inner/file`)
    t.equal(fs.lookup(inner, '..').nodeid, outer)
    t.equal(fs.lookup(outer, '..').nodeid, ROOT_ID)
    for (let n = 0; n < 3; n++) t.equal(fs.lookup(ROOT_ID, '..').nodeid, ROOT_ID, 'nothing is above')
    refused(t, 'ENOTDIR', () => fs.lookup(file, '..'))
  },
)

t.test('a lookup of "." or ".." counts as one lookup, and FORGET takes it back', async (t) => {
  const device = await Device.start(t, ['--export', '--inode-file-handles', 'never'])
  const fs = mount(t, device, offer)
  const held = device.fdCount()
  const outer = fs.mkdir(ROOT_ID, 'outer').nodeid
  const inner = fs.mkdir(outer, 'inner').nodeid
  for (let n = 0; n < 10; n++) {
    fs.lookup(inner, '.')
    fs.lookup(inner, '..')
  }
  fs.forget(inner, 10)
  t.equal(fs.lookup(inner, '.').nodeid, inner)
  fs.forgetAll()
  t.equal(device.fdCount(), held)
  for (const name of ['.', '..'])
    refused(t, 'ESTALE', () => fs.lookup(inner, name), 'it cannot be opened again')
})

t.test(
  'an inode that the guest has forgotten is found again by its node id, while it exists',
  { skip: !isRoot && 'needs root: it opens file handles' },
  async (t) => {
    const device = await Device.start(t, ['--export', '--inode-limit', '4'])
    const fs = mount(t, device, offer)
    const held = device.fdCount()
    const outer = fs.mkdir(ROOT_ID, 'outer').nodeid
    const file = fs.mknod(outer, 'file', 0o100644).nodeid
    const gone = fs.mknod(outer, 'gone', 0o100644).nodeid
    fs.forgetAll()
    const opened = device.fdCount() - held
    t.ok(opened <= 1, `no inode of these is open, its file system may be: ${opened}`)
    for (const node of [outer, file, gone]) refused(t, 'EBADF', () => fs.getattr(node), 'not without asking')
    t.equal(fs.lookup(file, '.').nodeid, file)
    assertAttr(fs.getattr(file).attr, `${device.directory}/outer/file`)
    t.equal(fs.lookup(ROOT_ID, 'outer').nodeid, outer, 'it keeps its node id by name, too')
    rmSync(`${device.directory}/outer/gone`)
    refused(t, 'ESTALE', () => fs.lookup(gone, '.'))
    const removed = fs.mknod(ROOT_ID, 'removed', 0o100644).nodeid
    rmSync(`${device.directory}/removed`)
    refused(t, 'ESTALE', () => fs.lookup(removed, '.'), 'one that the guest is about to give back')
    fs.forget(removed, 1)
    fs.forgetAll()
    // The root, outer and two more may be known: the one that was forgotten first makes room.
    fs.lookup(outer, '.')
    fs.mknod(outer, 'more', 0o100644)
    refused(t, 'ESTALE', () => fs.lookup(gone, '.'))
    t.equal(fs.lookup(file, '.').nodeid, file)
    refused(t, 'ENFILE', () => fs.mknod(outer, 'too many', 0o100644))
  },
)

t.test('a directory that was moved out of the share has no parent in it', async (t) => {
  const device = await Device.start(t, ['--export'], { storage: 'disk' })
  const outside = mkdtempSync(join(device.directory, '..', 'outside-'))
  t.teardown(() => rmSync(outside, { recursive: true }))
  mkdirSync(`${device.directory}/moved`)
  const fs = mount(t, device, offer)
  const { nodeid } = fs.lookup(ROOT_ID, 'moved')
  renameSync(`${device.directory}/moved`, `${outside}/moved`)
  refused(t, 'ESTALE', () => fs.lookup(nodeid, '..'))
})

t.test(
  'in every other operation "." and ".." stay bad names; without --export only LOOKUP finds "."',
  async (t) => {
    const exported = mount(t, await Device.start(t, ['--export']), offer)
    for (const name of ['.', '..']) {
      refused(t, 'EINVAL', () => exported.mkdir(ROOT_ID, name))
      refused(t, 'EINVAL', () => exported.create(ROOT_ID, name, O_RDWR))
      refused(t, 'EINVAL', () => exported.unlink(ROOT_ID, name))
      refused(t, 'EINVAL', () => exported.rename(ROOT_ID, 'x', ROOT_ID, name))
    }
    const plain = mount(t, await Device.start(t), offer)
    t.equal(plain.lookup(ROOT_ID, '.').nodeid, BigInt(ROOT_ID))
    const { nodeid } = plain.mkdir(ROOT_ID, 'sub')
    for (const node of [ROOT_ID, nodeid]) refused(t, 'EINVAL', () => plain.lookup(node, '..'))
    plain.forgetAll()
    refused(t, 'ESTALE', () => plain.lookup(nodeid, '.'), 'what the guest has forgotten')
  },
)
