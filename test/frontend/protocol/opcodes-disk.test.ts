/** Every opcode on the file system of the disk, where it differs from one in memory: cookies, holes, extents. */
import t from 'tap'
import { allCases } from '../../opcodes/all.js'
import { runCases } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { mount } from '../../support/fuse/mount.js'

const device = await Device.start(t, ['--keep-alive'], { storage: 'disk' })
const fs = mount(t, device)
runCases(t, device, fs, allCases)
fs.close()
t.ok(device.alive)
