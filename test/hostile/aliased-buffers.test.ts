/** A guest places its replies over its own requests, over the rings, and over the tables that are being read. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, Reader, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { RawRing, WRITE } from '../support/fuse/raw-ring.js'

const MIB = 1 << 20
const REQUEST_GPA = 50 * MIB
const REPLY_GPA = 51 * MIB
const TABLE_GPA = 52 * MIB
const GETATTR_REPLY_BYTES = 16 + 104
const DATA_BYTES = 4096
const UNIQUE = 7

const device = await Device.start(t, ['--keep-alive'])
writeFileSync(join(device.directory, 'file'), Buffer.alloc(DATA_BYTES, 0xff))
const heldBefore = device.fdCount()

function guest(t: Test): { fs: FuseGuest; ring: RawRing } {
  const fs = mount(t, device, { regionBytes: [64 * MIB], indirect: true, eventIdx: false })
  return { fs, ring: new RawRing(fs, REQUEST_QUEUE) }
}

const request = (opcode: number, nodeid: bigint, args: Uint8Array) =>
  concat(u32(40 + args.length, opcode), u64(UNIQUE), u64(nodeid), u32(0, 0, 0, 0), args)

t.test('a reply laid over its request is right, because the request has been read by then', async (t) => {
  const { fs, ring } = guest(t)
  const getattr = request(Op.GETATTR, BigInt(ROOT_ID), concat(u32(0, 0), u64(0)))
  for (const offset of [0, 4, 8, 16, getattr.length - 1]) {
    fs.frontend.write(REQUEST_GPA, getattr)
    const { writtenBytes } = ring.submitChain([
      { gpa: REQUEST_GPA, lenBytes: getattr.length },
      { gpa: REQUEST_GPA + offset, lenBytes: GETATTR_REPLY_BYTES, flags: WRITE },
    ])
    t.equal(writtenBytes, GETATTR_REPLY_BYTES)
    const r = new Reader(fs.frontend.read(REQUEST_GPA + offset, 16))
    t.same([r.u32(), r.i32(), Number(r.u64())], [GETATTR_REPLY_BYTES, 0, UNIQUE], `${offset} bytes behind`)
  }
  fs.close()
})

t.test('a reply laid over its own indirect table is right', async (t) => {
  const { fs, ring } = guest(t)
  const getattr = request(Op.GETATTR, BigInt(ROOT_ID), concat(u32(0, 0), u64(0)))
  fs.frontend.write(REQUEST_GPA, getattr)
  const { writtenBytes } = ring.submitIndirect(
    [
      { gpa: REQUEST_GPA, lenBytes: getattr.length, flags: 1, next: 1 },
      { gpa: TABLE_GPA, lenBytes: GETATTR_REPLY_BYTES, flags: WRITE },
    ],
    TABLE_GPA,
  )
  t.equal(writtenBytes, GETATTR_REPLY_BYTES)
  t.equal(new Reader(fs.frontend.read(TABLE_GPA, 4)).u32(), GETATTR_REPLY_BYTES)
  fs.close()
})

for (const part of ['descGpa', 'availGpa', 'usedGpa'] as const) {
  t.test(
    `a file read over the ${part.replace('Gpa', '')} ring: this guest alone has harmed itself`,
    async (t) => {
      const { fs, ring } = guest(t)
      const { nodeid } = fs.lookup(ROOT_ID, 'file')
      const { handle } = fs.open(nodeid, 0)
      const read = request(Op.READ, nodeid, concat(u64(handle, 0), u32(DATA_BYTES, 0), u64(0), u32(0, 0)))
      const places = fs.frontend.queues[REQUEST_QUEUE].layout
      fs.frontend.write(REQUEST_GPA, read)
      ring.write([
        { gpa: REQUEST_GPA, lenBytes: read.length, flags: 1, next: ring.firstIndex + 1 },
        { gpa: REPLY_GPA, lenBytes: 16, flags: 1 | WRITE, next: ring.firstIndex + 2 },
        { gpa: places[part], lenBytes: DATA_BYTES, flags: WRITE },
      ])
      ring.publish(ring.firstIndex)
      for (let n = 0; n < 50; n++) ring.publish(n)
      // Another front-end is served when this one has left.
      fs.close()
      const next = mount(t, device)
      t.equal(next.getattr(ROOT_ID).attr.mode & 0o170000, 0o040000)
      next.close()
    },
  )
}

t.test('a file may be written from the used ring, which the device changes meanwhile', async (t) => {
  const { fs, ring } = guest(t)
  const { nodeid, handle } = fs.create(ROOT_ID, 'written', 2)
  const args = concat(u64(handle, 0), u32(DATA_BYTES, 0), u64(0), u32(0, 0))
  const write = concat(
    u32(40 + args.length + DATA_BYTES, Op.WRITE),
    u64(UNIQUE),
    u64(nodeid),
    u32(0, 0, 0, 0),
    args,
  )
  fs.frontend.write(REQUEST_GPA, write)
  const { usedGpa } = fs.frontend.queues[REQUEST_QUEUE].layout
  for (let n = 0; n < 100; n++) {
    const { writtenBytes } = ring.submitChain([
      { gpa: REQUEST_GPA, lenBytes: write.length },
      { gpa: usedGpa, lenBytes: DATA_BYTES },
      { gpa: REPLY_GPA, lenBytes: 24, flags: WRITE },
    ])
    t.equal(writtenBytes, 24)
  }
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
