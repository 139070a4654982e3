/** A READ that begins below 2^53 and ends beyond, in a longer file, and that the host carries out in pieces. */
import { spawnSync } from 'node:child_process'
import { truncateSync } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { RawRing, WRITE } from '../support/fuse/raw-ring.js'

t.setTimeout(120_000)

const MIB = 1 << 20
const O_RDWR = 2
const EOVERFLOW = 75
const REQUEST_GPA = 100 * MIB
const REPLY_GPA = 101 * MIB
const DATA_GPA = 128 * MIB
const PIECE_BYTES = 64 * MIB
/** Linux reads at most 2 GiB at once: the rest is a second call. */
const PIECES = 40

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

t.test('has an answer', async (t) => {
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'long', O_RDWR)
  const path = `${device.directory}/long`
  const { status, stderr } = spawnSync('truncate', ['--size', `${2n ** 54n}`, path], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  })
  if (status !== 0) {
    fs.close()
    // Only EFBIG is a reason to skip.
    if (!stderr.includes('File too large')) throw new Error(`truncate: ${stderr}`)
    t.pass('a long file', { skip: 'this file system has no files so long' })
    return
  }
  const lenBytes = PIECES * PIECE_BYTES
  const header = concat(u32(80, Op.READ), u64(7), u64(nodeid), u32(0, 0, 0, 0))
  const args = concat(u64(handle, Number.MAX_SAFE_INTEGER - 1), u32(lenBytes, 0), u64(0), u32(0, 0))
  fs.frontend.write(REQUEST_GPA, concat(header, args))
  // All segments lie in the same place: a small guest can ask for gigabytes.
  const used = new RawRing(fs, REQUEST_QUEUE).submitChain([
    { gpa: REQUEST_GPA, lenBytes: 80 },
    { gpa: REPLY_GPA, lenBytes: 16, flags: WRITE },
    ...Array.from({ length: PIECES }, () => ({ gpa: DATA_GPA, lenBytes: PIECE_BYTES, flags: WRITE })),
  ])
  t.equal(used.writtenBytes, 16)
  t.equal(Buffer.from(fs.frontend.read(REPLY_GPA, 16)).readInt32LE(4), -EOVERFLOW)
  truncateSync(path, 5)
  t.equal(fs.read(nodeid, handle, Number.MAX_SAFE_INTEGER - 1, 4096).length, 0, 'behind the end')
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
