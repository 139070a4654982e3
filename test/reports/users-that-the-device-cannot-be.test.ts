/**
 * A device of an ordinary user cannot make files as another user or group of the guest, not even where only the group differs,
 * as that of a guest's first user often does. The guest gets EPERM, and the log says what helps.
 */
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'

const skip = !isRoot && 'needs root: it starts the device as another user'
const OWN_ID = 1234

for (const sandbox of ['none', 'namespace'] as const) {
  t.test(`--sandbox ${sandbox}`, { skip }, async (t) => {
    const device = await Device.start(t, [], { ...users['an ordinary user'], sandbox })
    const fs = mount(t, device)
    const own = { uid: OWN_ID, gid: OWN_ID }
    t.equal(fs.as(own, () => fs.mkdir(ROOT_ID, 'own')).attr.uid, OWN_ID)
    for (const caller of [
      { ...own, gid: 1000 },
      { ...own, uid: 1000 },
    ]) {
      refused(t, 'EPERM', () => fs.as(caller, () => fs.create(ROOT_ID, 'file', 2)))
      refused(t, 'EPERM', () => fs.as(caller, () => fs.mkdir(ROOT_ID, 'directory')))
    }
    const line = await device.waitForLog(({ msg }) => msg.startsWith('nothing can be made as this user'))
    t.match(line, { uid: OWN_ID, gid: 1000, hint: /--map-to-me/ })
  })

  t.test(`--sandbox ${sandbox} --map-to-me: all are the device’s own user`, { skip }, async (t) => {
    const options = { ...users['an ordinary user'], sandbox }
    const fs = mount(t, await Device.start(t, ['--map-to-me'], options))
    t.equal(fs.as({ uid: 1000, gid: 1000 }, () => fs.create(ROOT_ID, 'file', 2)).attr.uid, 0)
  })
}
