/** --export: LOOKUP of "." and "..", with which a guest finds inodes again that it has handed out as file handles. */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { assertAttr } from '../support/cases.js'
import { Device } from '../support/device.js'
import { EVERY_FLAG, ROOT_ID } from '../support/fuse-abi.js'
import { mount } from '../support/mount.js'
import { refused } from '../support/refusals.js'

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

t.test('each counts as a lookup, and gives back as one', async (t) => {
  const device = await Device.start(t, ['--export'])
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
  for (const name of ['.', '..']) refused(t, 'ESTALE', () => fs.lookup(inner, name))
})

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

t.test('in every other operation "." and ".." stay bad names; without --export in LOOKUP, too', async (t) => {
  const exported = mount(t, await Device.start(t, ['--export']), offer)
  for (const name of ['.', '..']) {
    refused(t, 'EINVAL', () => exported.mkdir(ROOT_ID, name))
    refused(t, 'EINVAL', () => exported.create(ROOT_ID, name, O_RDWR))
    refused(t, 'EINVAL', () => exported.unlink(ROOT_ID, name))
    refused(t, 'EINVAL', () => exported.rename(ROOT_ID, 'x', ROOT_ID, name))
  }
  const plain = mount(t, await Device.start(t), offer)
  for (const name of ['.', '..']) refused(t, 'EINVAL', () => plain.lookup(ROOT_ID, name))
})
