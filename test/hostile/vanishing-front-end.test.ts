/** A front-end that disappears after any of its messages, and a thousand that come and go. */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Frontend, type FrontendOptions } from 'vhost-user-ts/frontend'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'

const MIB = 1 << 20
const O_RDWR = 2
const OPTIONS: FrontendOptions = { indirect: true, regionBytes: [16 * MIB, 4 * MIB], timeoutMs: 20_000 }
const WARM_UP = 200
const CYCLES = 1000
/** The growth of the process that is not a leak: less than 5 bytes for each cycle and page. */
const NOISE_KIB = 20 * 1024
/** More messages than any of these front-ends sends. */
const END = 1000

const device = await Device.start(t, ['--keep-alive'])
writeFileSync(`${device.directory}/file`, 'x'.repeat(MIB))
const heldBefore = device.fdCount()

class Vanished extends Error {}

/** The messages of a front-end's life, up to number `count`. Returns true if that was all. */
function live(count: number): boolean {
  const frontend = new Frontend(device.socketPath, OPTIONS)
  const { connection } = frontend
  const send = connection.send.bind(connection)
  let sent = 0
  connection.send = (...args) => {
    if (sent++ === count) throw new Vanished()
    return send(...args)
  }
  try {
    frontend.negotiate()
    for (let n = 0; n < 2; n++) frontend.addQueue(128)
    const fs = new FuseGuest(frontend)
    fs.init()
    leaveInFlight(fs)
    frontend.removeRegion(frontend.addRegion(MIB))
    frontend.sendMemoryTable()
    leaveInFlight(fs)
    frontend.startQueue(REQUEST_QUEUE, frontend.stopQueue(REQUEST_QUEUE))
    leaveInFlight(fs)
    for (const index of [0, 1]) frontend.stopQueue(index)
    return true
  } catch (error) {
    if (!(error instanceof Vanished)) throw error
    return false
  } finally {
    frontend.close()
  }
}

/** Takes the replies of the last time, then opens a file and sends requests whose replies are still to come. */
function leaveInFlight(fs: FuseGuest): void {
  while (fs.frontend.queues[REQUEST_QUEUE].inFlightCount > 0) fs.finish()
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  const read = concat(u64(handle, 0), u32(65_536, 0), u64(0), u32(0, 0))
  const sync = concat(u64(handle), u32(0, 0))
  for (let n = 0; n < 8; n++) {
    fs.start({ opcode: Op.READ, nodeid, args: read, reply: { argBytes: 0, dataBytes: 65_536 } })
    fs.start({ opcode: Op.FSYNC, nodeid, args: sync, reply: { argBytes: 0 } })
  }
  while (fs.frontend.queues[REQUEST_QUEUE].inFlightCount > 8) fs.finish()
}

t.test('a front-end that vanishes before each of its messages', async (t) => {
  let count = 0
  while (!live(count)) {
    await device.waitForFdCount(heldBefore)
    if (++count === END) throw new Error('a front-end without end')
  }
  t.ok(count > 30, `${count} messages`)
  await device.waitForFdCount(heldBefore)
})

function residentKib(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${device.pid}/status`, 'utf8'))?.[1])
}

t.test(`${CYCLES} front-ends come and go: descriptors and memory stay the same`, async (t) => {
  const cycle = async () => {
    const fs = mount(t, device, { regionBytes: [16 * MIB], indirect: false })
    fs.getattr(ROOT_ID)
    fs.open(fs.lookup(ROOT_ID, 'file').nodeid, O_RDWR)
    fs.close()
  }
  for (let n = 0; n < WARM_UP; n++) await cycle()
  await device.waitForFdCount(heldBefore)
  const before = residentKib()
  for (let n = 0; n < CYCLES; n++) await cycle()
  await device.waitForFdCount(heldBefore)
  const grown = residentKib() - before
  t.comment(`${before} KiB before, ${grown} KiB more behind`)
  t.ok(grown < NOISE_KIB, `${grown} KiB`)
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
