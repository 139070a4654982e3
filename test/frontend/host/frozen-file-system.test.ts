/**
 * The host freezes a file system (fsfreeze): requests that wait for it delay no others. Needs root and loop devices.
 */
import { constants, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { EMPTY, type GuestRequest } from '../../support/fuse/fuse-client.js'
import { concat, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_RDWR } = constants
const MIB = 1024 * 1024
const READS = 200

const dir = tempDir(t)
const directory = join(dir, 'share')
const disk = DiskImage.mount(t, directory, join(dir, 'image'))
if (disk === undefined)
  t.plan(0, 'needs root, mkfs.ext4, fsfreeze and a loop device: it freezes a file system')
else await frozenTest(disk)

async function frozenTest(disk: DiskImage): Promise<void> {
  writeFileSync(join(directory, 'file'), 'some bytes')
  writeFileSync(join(directory, 'other'), 'others')
  const device = await Device.start(t, [], { directory })
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const other = fs.lookup(ROOT_ID, 'other').nodeid
  const { handle } = fs.open(nodeid, O_RDWR)
  const allocate: GuestRequest = {
    opcode: Op.FALLOCATE,
    nodeid,
    args: concat(u64(handle, 0, MIB), u32(0, 0)),
    reply: EMPTY,
  }
  t.ok(disk.freeze())
  const held = [0, 1, 2].map(() => fs.start(allocate))
  const getattr = fs.getattrRequest(other)
  for (let n = 0; n < READS; n++) {
    const asked = fs.start(getattr)
    // Replies come as requests are finished: the first to come is the last that was sent.
    if (fs.finish() !== asked) t.fail('a GETATTR waited for the frozen file system')
  }
  t.ok(
    held.every(({ reply }) => reply === undefined),
    'the host still holds them',
  )
  t.ok(disk.unfreeze())
  const finished = held.map(() => fs.finish())
  t.same(new Set(finished), new Set(held))
  t.same(
    finished.map(({ reply }) => reply?.error),
    [0, 0, 0],
  )
  t.equal(fs.getattr(nodeid).attr.size, BigInt(MIB))
  fs.close()
}
