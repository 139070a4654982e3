/** A queue stops although copies of many gigabytes are in flight: copies that have not begun are left to the guest. */
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { concat, Reader, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const O_RDWR = 2
const MIB = 1 << 20
const COPIES = 100
const COPY_BYTES = 512 * MIB
const EOPNOTSUPP = 95
const ECANCELED = 125
const FSYNC = 2
const COPY_RANGE = 5
const ALL_KINDS = 255

for (const [user, options] of Object.entries(users)) {
  t.test(`${user}: GET_VRING_BASE amid ${COPIES} copies of ${COPY_BYTES / MIB} MiB`, async (t) => {
    const device = await Device.start(t, [], options)
    const fs = mount(t, device, { queueSize: 256 })
    const from = fs.create(ROOT_ID, 'from', O_RDWR)
    fs.setattr(from.nodeid, { size: COPY_BYTES })
    const to = fs.create(ROOT_ID, 'to', O_RDWR)
    const args = concat(u64(from.handle, 0, to.nodeid, to.handle, 0, COPY_BYTES, 0))
    const nodeid = from.nodeid
    for (let n = 0; n < COPIES; n++)
      fs.start({ opcode: Op.COPY_FILE_RANGE, nodeid, args, reply: { argBytes: 8 } })
    // When it is answered, everything that was put on the ring before it has been taken.
    const last = fs.start({ opcode: Op.STATFS, nodeid, reply: { argBytes: 80 } })
    t.equal(fs.finish(), last)
    fs.frontend.stopQueue(REQUEST_QUEUE)
    let whole = 0
    let left = 0
    for (let n = 0; n < COPIES; n++) {
      const { error = -1, body = new Uint8Array() } = fs.finish().reply ?? {}
      if (error === EOPNOTSUPP) left++
      else if (error === 0 && new Reader(body).u32() === COPY_BYTES) whole++
      else t.equal(error, 0, 'one that has begun says how far it came')
    }
    t.ok(left > 0, `${left} had not begun: the guest copies by itself`)
    t.ok(whole < COPIES / 2, `${whole} came to their end`)
    fs.close()
  })
}

t.test('calls that no thread has begun can be given up', async (t) => {
  const path = join(tempDir(t), 'file')
  const fd = openSync(path, 'w+')
  const engine = native.asyncCreate(0, 1, 0)
  t.equal(engine, 0, 'the first of this thread')
  native.ftruncate(fd, 64 * MIB)
  for (let token = 0; token < 100; token++) native.asyncCopyRange(token, fd, 0, fd, 64 * MIB, 64 * MIB)
  for (let token = 100; token < 200; token++) native.asyncFile(FSYNC, token, fd, 0, 0, 0)
  native.asyncCancel(engine, COPY_RANGE)
  native.asyncCancel(engine, ALL_KINDS)
  const results = new Int32Array(256)
  const ended = new Map<number, number>()
  while (ended.size < 200) {
    const count = native.asyncReap(engine, results)
    for (let n = 0; n < count; n++) ended.set(results[2 * n] as number, results[2 * n + 1] as number)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const givenUp = [...ended.values()].filter((result) => result === -ECANCELED)
  t.ok(givenUp.length >= 198, `${givenUp.length} of 200`)
  closeSync(fd)
})
