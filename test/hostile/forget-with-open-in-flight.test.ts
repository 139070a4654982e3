/**
 * A FORGET of all lookups races an OPEN, a LOOKUP and a READ of the same inode: counts stay right, and no handle is
 * lost.
 */
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { HIPRIO_QUEUE, REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { cstring, Reader, readOpened, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'

const ROUNDS = 300
const EBADF = 9

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()
writeFileSync(`${device.directory}/file`, 'text')

t.test('FORGET(2^64 - 1) with an OPEN in flight: the file is open, or its inode is unknown', async (t) => {
  const fs = mount(t, device)
  const held = device.fdCount()
  for (let round = 0; round < ROUNDS; round++) {
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    const open = { opcode: Op.OPEN, nodeid, args: u32(0, 0), reply: { argBytes: 16 } }
    const forget = { opcode: Op.FORGET, nodeid, args: u64((1n << 64n) - 1n), reply: 'none' as const }
    // Both are on their rings before the device is kicked, and the order alternates.
    const submit = [() => fs.start(open, REQUEST_QUEUE), () => fs.start(forget, HIPRIO_QUEUE)]
    if (round % 2 === 1) submit.reverse()
    for (const start of submit) start()
    const { reply } = fs.finish(REQUEST_QUEUE)
    fs.finish(HIPRIO_QUEUE)
    fs.lookups.delete(nodeid)
    if (reply?.error === 0) {
      const { handle } = readOpened(new Reader(reply.body))
      const text = Buffer.from(fs.read(nodeid, handle, 0, 10)).toString()
      if (text !== 'text') t.fail(`read ${text}`)
      fs.release(nodeid, handle)
    } else if (reply?.error !== EBADF) {
      t.fail(`OPEN gave ${reply?.error}`)
    }
  }
  t.equal(device.fdCount(), held, 'no handle and no inode is left')
  fs.close()
})

t.test('FORGET with LOOKUPs of the same name in flight: lookups that were granted stay valid', async (t) => {
  const fs = mount(t, device)
  const held = device.fdCount()
  for (let round = 0; round < ROUNDS; round++) {
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    const lookup = { opcode: Op.LOOKUP, nodeid: ROOT_ID, args: cstring('file'), reply: { argBytes: 128 } }
    for (let n = 0; n < 3; n++) fs.start(lookup, REQUEST_QUEUE)
    fs.start({ opcode: Op.FORGET, nodeid, args: u64(1), reply: 'none' }, HIPRIO_QUEUE)
    fs.finish(HIPRIO_QUEUE)
    const granted = [1, 2, 3].map(() =>
      new Reader(fs.finish(REQUEST_QUEUE).reply?.body ?? new Uint8Array(0)).u64(),
    )
    fs.lookups.clear()
    for (const node of granted)
      if (fs.getattr(node).attr.size !== 4n) t.fail('a granted lookup is worth nothing')
    for (const node of granted) fs.forget(node, 1)
  }
  t.equal(device.fdCount(), held)
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
