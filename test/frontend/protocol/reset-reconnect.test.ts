/** Device resets and front-ends that come and go. */
import { existsSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { Device } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { attach, mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

// Further threads stay when a front-end leaves, with their descriptors.
const device = await Device.start(t, ['--keep-alive', '--queue-threads', '1'])
const heldBefore = device.fdCount()
for (let n = 0; n < 20; n++) writeFileSync(`${device.directory}/file-${n}`, '')

/** Makes the device hold 20 inodes, 20 files and a directory. */
function holdMuch(fs: FuseGuest): void {
  for (let n = 0; n < 20; n++) fs.open(fs.lookup(ROOT_ID, `file-${n}`).nodeid, 0)
  fs.opendir(ROOT_ID)
}

t.test('RESET_DEVICE ends the session and the rings, and keeps memory: it is not sent again', async (t) => {
  const fs = mount(t, device)
  const held = device.fdCount()
  const { nodeid } = fs.lookup(ROOT_ID, 'file-0')
  holdMuch(fs)
  // QEMU sends it twice before first use.
  fs.frontend.request(FrontendRequest.RESET_DEVICE, 0)
  fs.frontend.request(FrontendRequest.RESET_DEVICE, 0)
  fs.restartQueues()
  refused(t, 'EIO', () => fs.getattr(nodeid))
  fs.init()
  refused(t, 'EBADF', () => fs.getattr(nodeid))
  t.equal(fs.lookup(ROOT_ID, 'file-0').attr.size, 0n)
  fs.forgetAll()
  t.equal(device.fdCount(), held)
  fs.close()
})

t.test('RESET_OWNER does the same', async (t) => {
  const fs = mount(t, device)
  holdMuch(fs)
  fs.frontend.request(FrontendRequest.RESET_OWNER, 0)
  fs.restartQueues()
  fs.init()
  t.equal(fs.lookup(ROOT_ID, 'file-0').attr.size, 0n)
  fs.close()
})

t.test(
  'a front-end that stops its queues and goes on, as with stop and cont, keeps its session',
  async (t) => {
    const fs = mount(t, device)
    const { nodeid } = fs.lookup(ROOT_ID, 'file-0')
    const { handle } = fs.open(nodeid, 2)
    const bases = fs.frontend.queues.map((_, index) => fs.frontend.stopQueue(index))
    fs.frontend.setU64(FrontendRequest.SET_FEATURES, fs.frontend.features)
    bases.forEach((base, index) => {
      fs.frontend.startQueue(index, base)
    })
    fs.write(nodeid, handle, 0, Uint8Array.of(1, 2, 3))
    t.equal(fs.getattr(nodeid).attr.size, 3n)
    fs.close()
  },
)

t.test('when a front-end leaves, its state goes; the next one begins anew', async (t) => {
  for (let n = 0; n < 10; n++) {
    const fs = mount(t, device, { queueSize: n % 2 === 0 ? 128 : 1024, requestQueues: 1 + n })
    const { nodeid } = fs.lookup(ROOT_ID, 'file-0')
    holdMuch(fs)
    fs.close()
    await device.waitForFdCount(heldBefore)
    const next = attach(t, device)
    refused(t, 'EIO', () => next.getattr(nodeid))
    next.close()
  }
  await device.waitForFdCount(heldBefore)
})

t.test(
  'without --keep-alive the device ends with 0 when its front-end leaves, and leaves no socket',
  async (t) => {
    const device = await Device.start(t)
    const fs = mount(t, device)
    fs.getattr(ROOT_ID)
    fs.close()
    t.same(await device.exited(), { status: 0, signal: null })
    t.notOk(existsSync(device.socketPath))
    t.notOk(existsSync(`${device.socketPath}.pid`))
  },
)

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  t.test(`${signal} ends a device that serves at once with 0, and leaves no socket`, async (t) => {
    const device = await Device.start(t, ['--keep-alive'])
    const fs = mount(t, device)
    fs.getattr(ROOT_ID)
    device.kill(signal)
    t.same(await device.exited(), { status: 0, signal: null })
    t.notOk(existsSync(device.socketPath))
    t.notOk(existsSync(`${device.socketPath}.pid`))
    fs.close()
  })
}
