/** The host's file system blocks one of the threads that serve the queues of a share: the others go on. */
import { join } from 'node:path'
import t from 'tap'
import { ThreadedDevice } from '../../support/device/threaded-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { concat, cstring, u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const dir = tempDir(t)
const directory = join(dir, 'share')
const disk = DiskImage.mount(t, directory, join(dir, 'image'))
const skip =
  disk === undefined && 'needs root, mkfs.ext4, fsfreeze and a loop device: it freezes a file system'

t.test(
  'a thread of a share that is stuck keeps its queues, and neither the other queues nor the operator',
  { skip },
  async (t) => {
    const served = await ThreadedDevice.start(t, 3, [], { directory })
    const fs = mount(t, served.device, { requestQueues: 4 })
    await served.inUse(3)
    t.ok(disk?.freeze())
    t.teardown(() => disk?.unfreeze())
    const args = concat(u32(0o755, 0), cstring('by-thread'))
    const stuck = fs.start({ opcode: Op.MKDIR, nodeid: ROOT_ID, args, reply: { argBytes: 128 } }, 2)
    const othersGoOn = () => {
      for (const queue of [1, 3, 4]) t.equal(fs.call(fs.getattrRequest(ROOT_ID), queue).error, 0)
    }
    const startMs = performance.now()
    await t.rejects(served.replace(), /did not end in time/)
    othersGoOn()
    await served.inUse(3)
    othersGoOn()
    // After this command, which takes two seconds, the guest has the threads to itself for a while.
    await t.rejects(
      served.ask('fault-clear'),
      /a thread of the share waits for the host’s file system: ask again/,
    )
    othersGoOn()
    t.ok(performance.now() - startMs < 20_000)
    t.equal(fs.finishNow(2, 0), undefined, 'it is still stuck')
    t.ok(disk?.unfreeze())
    while (stuck.reply === undefined) fs.finish(2)
    t.equal(stuck.reply.error, 0)
    for (const queue of [1, 2, 3, 4]) t.equal(fs.call(fs.getattrRequest(ROOT_ID), queue).error, 0)
    fs.close()
  },
)
