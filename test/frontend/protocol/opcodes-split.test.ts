/**
 * Every opcode, with headers, arguments, data and replies cut and placed as no driver would: the stream of bytes is the
 * same.
 */
import t from 'tap'
import { allCases } from '../../opcodes/all.js'
import { runCases } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { acrossRegions, every, type Layout, unaligned, whole } from '../../support/fuse/layouts.js'
import { type GuestOptions, mount } from '../../support/fuse/mount.js'

const MIB = 1 << 20
/** The rings lie in the first region; no request of the cases is longer than the middle region. */
const REGION_BYTES = [64 * MIB, 4 * MIB, 64 * MIB]

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

const onLargeQueue: readonly Layout[] = [every(1), every(7), every(13), every(41), unaligned, whole(0)]
const runs: readonly GuestOptions[] = [
  ...onLargeQueue.map((layout) => ({ layout, queueSize: 1024, indirect: true })),
  { layout: every(1), queueSize: 1024, indirect: false },
  { layout: every(7), queueSize: 128, indirect: false },
  ...[1, 2, 3, 5].map((misalignment) => ({ layout: whole(misalignment) })),
  { layout: acrossRegions(REGION_BYTES), regionBytes: REGION_BYTES },
]

for (const options of runs) {
  const { layout, queueSize = 128, indirect = true } = options
  t.test(`${layout?.name}, queue of ${queueSize}${indirect ? '' : ', no indirect'}`, async (t) => {
    const fs = mount(t, device, options)
    runCases(t, device, fs, allCases)
    fs.close()
    await device.waitForFdCount(heldBefore)
    t.ok(device.alive)
  })
}
