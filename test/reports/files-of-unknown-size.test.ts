/**
 * Files of /proc and /sys have no size, or that of a page. A guest that reads one through its page cache finds it empty, or
 * ends it too early, so it is to read the device itself: FOPEN_DIRECT_IO.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { policies } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'

const FOPEN_DIRECT_IO = 1
const O_RDONLY = 0

for (const [policy, args] of Object.entries(policies)) {
  for (const [directory, name] of [
    ['/proc/sys/kernel', 'ostype'],
    ['/sys/kernel', 'uevent_seqnum'],
  ] as const) {
    t.test(`${policy}: ${directory}`, async (t) => {
      const fs = mount(t, await Device.start(t, args, { directory }))
      const { nodeid, attr } = fs.lookup(ROOT_ID, name)
      const { handle, flags } = fs.open(nodeid, O_RDONLY)
      const content = fs.read(nodeid, handle, 0, 4096)
      t.equal(Buffer.from(content).toString(), readFileSync(`${directory}/${name}`, 'utf8'))
      t.not(attr.size, BigInt(content.length), 'its size says nothing')
      t.equal(flags & FOPEN_DIRECT_IO, FOPEN_DIRECT_IO)
      t.equal(fs.read(nodeid, handle, content.length, 4096).length, 0)
      fs.release(nodeid, handle)
    })
  }
}
