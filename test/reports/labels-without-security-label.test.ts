/**
 * Without --security-label a guest's security.selinux is an extended attribute like any other, and set on the host's
 * file. --xattrmap gives it another name there. Needs root: labels need a capability where no policy is loaded.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { EVERY_FLAG, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { getxattr, setxattr } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'

const LABEL = 'security.selinux'
const context = Uint8Array.from(Buffer.from('system_u:object_r:tmp_t:s0\0'))
const init = { flags: EVERY_FLAG }

if (!isRoot) t.plan(0, 'needs root: it sets security attributes')
else {
  t.test('a label that the guest sets is set on the host’s file', async (t) => {
    const device = await Device.start(t, ['--keep-alive'])
    writeFileSync(join(device.directory, 'file'), '')
    const fs = mount(t, device, { init })
    setxattr(fs, fs.lookup(ROOT_ID, 'file').nodeid, LABEL, context)
    fs.close()
    const observer = await Device.start(t, [], { directory: device.directory })
    const other = mount(t, observer, { init })
    t.same(getxattr(other, other.lookup(ROOT_ID, 'file').nodeid, LABEL), context)
  })

  t.test('with the map of docs/coherency.md the label has another name there', async (t) => {
    const device = await Device.start(t, [
      '--keep-alive',
      '--xattrmap',
      ':map:security.selinux:user.virtiofs.:',
    ])
    writeFileSync(join(device.directory, 'file'), '')
    const fs = mount(t, device, { init })
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    setxattr(fs, nodeid, LABEL, context)
    t.same(getxattr(fs, nodeid, LABEL), context, 'the guest sees its label')
    fs.close()
    const observer = await Device.start(t, [], { directory: device.directory })
    const other = mount(t, observer, { init })
    const { nodeid: seen } = other.lookup(ROOT_ID, 'file')
    refused(t, 'ENODATA', () => getxattr(other, seen, LABEL))
    t.same(getxattr(other, seen, `user.virtiofs.${LABEL}`), context)
  })
}
