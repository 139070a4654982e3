/** Every opcode over every shape of queue that a guest may choose. */
import t from 'tap'
import { allCases } from '../../opcodes/all.js'
import { runCases } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { mount } from '../../support/fuse/mount.js'

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

for (const queueSize of [128, 1024]) {
  for (const indirect of [false, true]) {
    for (const eventIdx of [false, true]) {
      const name = `queue of ${queueSize}, ${indirect ? '' : 'no '}indirect, ${eventIdx ? '' : 'no '}event-idx`
      t.test(name, async (t) => {
        const fs = mount(t, device, { queueSize, indirect, eventIdx })
        runCases(t, device, fs, allCases)
        fs.close()
        await device.waitForFdCount(heldBefore)
        t.ok(device.alive)
      })
    }
  }
}
