/** Impossible memory regions are refused, and the guest in the others is still served. */
import { openSync } from 'node:fs'
import t from 'tap'
import { ProtocolError } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { AppendLoad } from '../support/fuse/append-load.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, type Id, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { Req } from '../support/rings/session-peer.js'

const MIB = 1 << 20
const GUEST_BYTES = 64 * MIB
const UVA = 0x7f00_0000_0000n
const GPA = 1n << 33n
/** Descriptors that are kept for another process which replaces this one: one a region, so many at most. */
const KEPT_FDS = 64

const memfd = native.memfdCreate(4 * MIB)
const pipeFds = new Int32Array(2)
native.unixPair(pipeFds)
const directory = openSync('/', 'r')
const zero = openSync('/dev/zero', 'r+')
const eventfd = native.eventfdCreate(0)

/** gpa, size, user address, offset in the file; and the file. */
type Region = readonly [gpa: Id, sizeBytes: Id, uva: Id, fileOffset: Id, fd: number]

const bad: Record<string, Region> = {
  'of no bytes': [GPA, 0, UVA + GPA, 0, memfd],
  'longer than its file': [GPA, 4 * MIB + 4096, UVA + GPA, 0, memfd],
  'whose offset lies behind its file': [GPA, MIB, UVA + GPA, 8 * MIB, memfd],
  'whose end lies behind its file': [GPA, 4 * MIB, UVA + GPA, 4096, memfd],
  'at 2^53': [1n << 53n, MIB, UVA + GPA, 0, memfd],
  'at 2^64 - 4096': [(1n << 64n) - 4096n, MIB, UVA + GPA, 0, memfd],
  'that reaches 2^53': [(1n << 53n) - 4096n, MIB, UVA + GPA, 0, memfd],
  'of 2^53 bytes': [GPA, 1n << 53n, UVA + GPA, 0, memfd],
  'of 2^64 - 4096 bytes': [GPA, (1n << 64n) - 4096n, UVA + GPA, 0, memfd],
  'at the user address 2^53': [GPA, MIB, 1n << 53n, 0, memfd],
  'at the user address 2^64 - 4096': [GPA, MIB, (1n << 64n) - 4096n, 0, memfd],
  'at an offset of 2^63': [GPA, MIB, UVA + GPA, 1n << 63n, memfd],
  'that overlaps another': [GUEST_BYTES - 4096, MIB, UVA + GPA, 0, memfd],
  'that lies in another': [MIB, 4096, UVA + GPA, 0, memfd],
  'that overlaps another in user addresses': [GPA, MIB, UVA + 4096n, 0, memfd],
  'not aligned to pages': [GPA + 2n, MIB, UVA + GPA + 2n, 0, memfd],
  'not aligned to pages, nor is its file': [GPA + 2n, MIB, UVA + GPA + 2n, 2, memfd],
  'of half a page': [GPA, 2048, UVA + GPA, 0, memfd],
  'of a pipe': [GPA, MIB, UVA + GPA, 0, pipeFds[0]],
  'of a directory': [GPA, 4096, UVA + GPA, 0, directory],
  'of a device': [GPA, MIB, UVA + GPA, 0, zero],
  'of an eventfd': [GPA, MIB, UVA + GPA, 0, eventfd],
}

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

/** Sends a message with any payload. Returns true if it was refused. */
function refused(fs: FuseGuest, request: number, payload: Uint8Array, fds: readonly number[]): boolean {
  const { body } = fs.frontend.connection
  new Uint8Array(body.buffer, body.byteOffset).set(payload)
  try {
    fs.frontend.request(request, payload.length, Int32Array.from(fds))
    return false
  } catch (error) {
    if (error instanceof ProtocolError) return true
    throw error
  }
}

t.test('an impossible region is refused, alone and beside good ones; running queues go on', async (t) => {
  const fs = mount(t, device, { regionBytes: [GUEST_BYTES] })
  const load = new AppendLoad(device, fs, 'file')
  const held = device.fdCount()
  const good = u64(0, 4096, UVA, 0)
  for (const [name, [gpa, sizeBytes, uva, fileOffset, fd]] of Object.entries(bad)) {
    load.submit(5, REQUEST_QUEUE)
    const region = u64(gpa, sizeBytes, uva, fileOffset)
    t.ok(refused(fs, Req.ADD_MEM_REG, concat(u64(0), region), [fd]), name)
    if (!name.includes('another')) {
      const payload = concat(u32(2, 0), good, region)
      t.ok(refused(fs, Req.SET_MEM_TABLE, payload, [memfd, fd]), `${name}, in a table`)
    }
    load.collect(REQUEST_QUEUE)
  }
  await device.waitForFdCount(held)
  load.assertExact()
  fs.close()
})

t.test('a table whose regions overlap is refused', async (t) => {
  const fs = mount(t, device, { regionBytes: [GUEST_BYTES] })
  const regions = [u64(0, 8192, UVA, 0), u64(4096, 8192, UVA + GPA, 0)]
  t.ok(refused(fs, Req.SET_MEM_TABLE, concat(u32(2, 0), ...regions), [memfd, memfd]))
  t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
  fs.close()
})

t.test('no message can remove memory that holds a running ring', async (t) => {
  const fs = mount(t, device, { regionBytes: [GUEST_BYTES] })
  const load = new AppendLoad(device, fs, 'rings')
  load.submit(20, REQUEST_QUEUE)
  t.ok(refused(fs, Req.REM_MEM_REG, concat(u64(0), u64(0, GUEST_BYTES, UVA, 0)), []), 'REM_MEM_REG')
  load.submit(2, REQUEST_QUEUE)
  load.collect(REQUEST_QUEUE)
  for (const [name, region] of [
    ['elsewhere', u64(GPA, MIB, UVA + GPA, 0)],
    ['with room for a part of the rings', u64(0, 4096, UVA, 0)],
  ] as const) {
    load.submit(20, REQUEST_QUEUE)
    t.ok(refused(fs, Req.SET_MEM_TABLE, concat(u32(1, 0), region), [memfd]), `SET_MEM_TABLE ${name}`)
    load.submit(2, REQUEST_QUEUE)
    load.collect(REQUEST_QUEUE)
  }
  load.assertExact()
  fs.close()
})

t.test('a region is removed with its exact values, or not at all', async (t) => {
  const fs = mount(t, device, { regionBytes: [GUEST_BYTES] })
  const added = [GPA, MIB, UVA + GPA, 0] as const
  t.notOk(refused(fs, Req.ADD_MEM_REG, concat(u64(0), u64(...added)), [memfd]))
  for (const other of [
    [GPA + 4096n, MIB, UVA + GPA, 0],
    [GPA, 4096, UVA + GPA, 0],
    [GPA, MIB, UVA + GPA + 4096n, 0],
    [(1n << 64n) - 1n, MIB, UVA + GPA, 0],
  ])
    t.ok(refused(fs, Req.REM_MEM_REG, concat(u64(0), u64(...other)), []))
  t.notOk(refused(fs, Req.REM_MEM_REG, concat(u64(0), u64(...added)), [memfd]), 'with a descriptor')
  t.ok(refused(fs, Req.REM_MEM_REG, concat(u64(0), u64(...added)), []), 'it is gone')
  fs.close()
})

t.test('509 regions are taken and no more, as the device announces', async (t) => {
  const fs = mount(t, device, { regionBytes: [GUEST_BYTES] })
  const held = device.fdCount()
  const slots = Number(fs.frontend.getU64(Req.GET_MAX_MEM_SLOTS))
  t.equal(slots, 509)
  const add = (n: number) => {
    const gpa = GPA + BigInt(n * 8192)
    return refused(fs, Req.ADD_MEM_REG, concat(u64(0), u64(gpa, 4096, UVA + gpa, 0)), [memfd])
  }
  for (let n = 1; n < slots; n++) if (add(n)) t.fail(`region ${n}`)
  t.ok(add(slots))
  t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
  // That of the guest's first region was there before.
  await device.waitForFdCount(held + KEPT_FDS - 1)
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
  for (const fd of [memfd, ...pipeFds, directory, zero, eventfd]) native.close(fd)
})
