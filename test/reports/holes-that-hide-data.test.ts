/**
 * A program that copies a file asks where its data is, and how many blocks it has. The host does not know what the guest
 * has not written back: it must not say that there is a hole.
 */
import { chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { policies, users } from '../support/device/users.js'
import { flagBits, Init, ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const O_RDONLY = 0
const O_RDWR = 2
const SEEK_DATA = 3
const SEEK_HOLE = 4
const MIB = 1 << 20

/** What a program sees that asks where the data is. */
function seen(fs: FuseGuest, nodeid: bigint, handle: bigint) {
  return {
    data: fs.lseek(nodeid, handle, 0, SEEK_DATA),
    hole: fs.lseek(nodeid, handle, 0, SEEK_HOLE),
    hasBlocks: fs.getattr(nodeid).attr.blocks > 0n,
  }
}

t.setTimeout(300_000)

for (const [user, options] of Object.entries(users)) {
  t.test(`write-back: LSEEK is left to the guest, as ${user}`, async (t) => {
    for (const cache of ['auto', 'always', 'never']) {
      const device = await Device.start(t, ['--cache', cache, '--writeback'], options)
      const fs = mount(t, device)
      const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
      fs.setattr(nodeid, { size: MIB })
      for (const whence of [SEEK_DATA, SEEK_HOLE]) {
        refused(t, 'ENOSYS', () => fs.lseek(nodeid, handle, 0, whence), cache)
        refused(t, 'ENOSYS', () => fs.lseek(nodeid, handle, 2 * MIB, whence), `${cache}: behind the end`)
      }
      fs.close()
    }
  })

  t.test(`write-back: a file that the guest writes to has blocks, as ${user}`, async (t) => {
    const device = await Device.start(t, ['--cache', 'always', '--writeback'], options)
    writeFileSync(join(device.directory, 'old'), '')
    if (options.owner !== undefined) chownSync(join(device.directory, 'old'), options.owner, options.owner)
    const fs = mount(t, device)
    const made = fs.create(ROOT_ID, 'new', O_RDWR)
    t.ok(made.attr.blocks > 0n, 'the reply to CREATE')
    t.ok(made.attrValidNs > 0n, 'is believed')
    t.ok(fs.getattr(made.nodeid).attr.blocks > 0n, 'GETATTR')
    fs.release(made.nodeid, made.handle)
    t.equal(fs.getattr(made.nodeid).attr.blocks, 0n, 'once it is released, it has what it has')

    const old = fs.lookup(ROOT_ID, 'old')
    t.equal(old.attr.blocks, 0n)
    t.equal(old.attrValidNs, 0n, 'which is not believed: the guest may open it for writing')
    const { handle } = fs.open(old.nodeid, O_RDWR)
    const reply = fs.getattr(old.nodeid)
    t.ok(reply.attr.blocks > 0n && reply.validNs > 0n, 'open for writing')
    fs.release(old.nodeid, handle)
    const reader = fs.open(old.nodeid, O_RDONLY)
    t.equal(fs.getattr(old.nodeid).attr.blocks, 0n, 'open for reading')
    fs.release(old.nodeid, reader.handle)
    fs.close()
  })
}

for (const [policy, args] of Object.entries(policies).filter(([name]) => name !== 'write-back')) {
  t.test(`${policy}: a file that may be mapped and written to is all data`, async (t) => {
    const device = await Device.start(t, args)
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    fs.setattr(nodeid, { size: MIB })
    t.equal(fs.getattr(nodeid).attr.blocks, 0n)
    refused(t, 'ENXIO', () => fs.lseek(nodeid, handle, 0, SEEK_DATA), 'nothing is in the guest’s page cache')
    fs.write(nodeid, handle, 4096, pattern(4096, 1))
    t.equal(fs.lseek(nodeid, handle, 0, SEEK_DATA), 4096n, 'holes are found')

    fs.setattr(nodeid, { size: 0 })
    fs.setattr(nodeid, { size: MIB })
    const other = fs.open(nodeid, O_RDONLY)
    fs.read(nodeid, other.handle, 0, 4096)
    const all = { data: 0n, hole: BigInt(MIB), hasBlocks: true }
    t.same(seen(fs, nodeid, handle), all, 'a page of it is in the guest’s page cache')
    t.equal(fs.lseek(nodeid, handle, 5000, SEEK_DATA), 5000n)
    for (const whence of [SEEK_DATA, SEEK_HOLE])
      refused(t, 'ENXIO', () => fs.lseek(nodeid, handle, MIB, whence), 'the end')
    t.same(seen(fs, nodeid, other.handle), all, 'by another handle, too')
    fs.release(nodeid, handle)
    refused(t, 'ENXIO', () => fs.lseek(nodeid, other.handle, 0, SEEK_DATA), 'nobody can write to it any more')
    fs.close()
  })
}

t.test('never, without --allow-mmap: nothing can be mapped shared, and holes are found', async (t) => {
  const device = await Device.start(t, ['--cache', 'never'])
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.setattr(nodeid, { size: MIB })
  fs.read(nodeid, handle, 0, 4096)
  refused(t, 'ENXIO', () => fs.lseek(nodeid, handle, 0, SEEK_DATA))
  fs.close()
})

t.test('a guest that cannot write back is told of holes whatever was asked for', async (t) => {
  const device = await Device.start(t, ['--cache', 'always', '--writeback'])
  const fs = mount(t, device, { init: { flags: flagBits(Init.BIG_WRITES) } })
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.setattr(nodeid, { size: MIB })
  t.equal(fs.lseek(nodeid, handle, 0, SEEK_HOLE), 0n)
  t.equal(fs.getattr(nodeid).attr.blocks, 0n)
  fs.close()
})
