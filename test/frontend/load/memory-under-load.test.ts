/** Guest memory is added, replaced and removed while rings run: no request is lost or carried out twice. */
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { AppendLoad } from '../../support/fuse/append-load.js'
import { REQUEST_QUEUE } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { from, linux } from '../../support/fuse/layouts.js'
import { mount } from '../../support/fuse/mount.js'

const MIB = 1 << 20
const ROUNDS = 60

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

let files = 0

/** Rounds of requests, with a change of memory while they wait. */
function underLoad(name: string, regionBytes: readonly number[], change: (fs: FuseGuest) => void): void {
  t.test(name, async (t) => {
    const fs = mount(t, device, { regionBytes })
    const load = new AppendLoad(device, fs, `file-${files++}`)
    for (let round = 0; round < ROUNDS; round++) {
      load.submit(30, REQUEST_QUEUE)
      change(fs)
      load.submit(10, REQUEST_QUEUE)
      load.collect(REQUEST_QUEUE)
      fs.layout = linux
    }
    load.assertExact()
    t.pass('every record once')
    fs.close()
  })
}

underLoad('regions are added (ADD_MEM_REG), and buffers lie in the new ones at once', [64 * MIB], (fs) => {
  fs.layout = from(fs.frontend.addRegion(2 * MIB))
})

underLoad('all memory is replaced (SET_MEM_TABLE)', [64 * MIB, 4 * MIB, 4 * MIB], (fs) => {
  fs.frontend.sendMemoryTable()
})

underLoad('a region without rings comes and goes (REM_MEM_REG)', [64 * MIB], (fs) => {
  fs.frontend.removeRegion(fs.frontend.addRegion(2 * MIB))
})

t.test('no descriptor is left open', async (t) => {
  await device.waitForFdCount(heldBefore)
  t.ok(device.alive)
})
