/** Set-user-id and set-group-id bits, where the guest looks after them itself: without FUSE_HANDLE_KILLPRIV_V2. */
import { chmodSync, constants, statSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device.js'
import { EVERY_FLAG, ROOT_ID, WRITE_KILL_SUIDGID } from '../support/fuse-abi.js'
import { mount } from '../support/mount.js'

const { O_RDWR } = constants
const byte = Uint8Array.of(1)
const allBits = 0o6777

t.test('a WRITE that says so takes them: Linux asks for it with direct writes, agreed or not', async (t) => {
  const device = await Device.start(t, ['--cache', 'never', '--no-killpriv-v2'])
  const path = `${device.directory}/file`
  writeFileSync(path, '')
  chmodSync(path, allBits)
  const fs = mount(t, device, { init: { flags: EVERY_FLAG } })
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  const bits = () => statSync(path).mode & 0o7777

  // The host takes them from anybody else at every change.
  if (process.geteuid?.() === 0) {
    fs.fallocate(nodeid, handle, 0, 100)
    fs.copyFileRange([nodeid, handle, 0], [nodeid, handle, 100], 1)
    t.equal(bits(), allBits, 'the guest has taken what had to go before these')
    fs.write(nodeid, handle, 0, byte)
    t.equal(bits(), allBits, 'a writer that may keep them')
  }
  fs.write(nodeid, handle, 0, byte, 0, WRITE_KILL_SUIDGID)
  t.equal(bits(), 0o777)
})
