/** An available index that no driver can have reached breaks that queue until it is set up anew, and no other. */
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY, REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { mount } from '../support/fuse/mount.js'

const OTHER_QUEUE = 2
const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

for (const jump of [129, 1000, 32_768, 65_535]) {
  t.test(`${jump} ahead of the device, on a queue of 128`, async (t) => {
    const fs = mount(t, device, { requestQueues: 2 })
    const { frontend } = fs
    const errFd = native.eventfdCreate(native.constants.EFD_NONBLOCK)
    frontend.setU64(FrontendRequest.SET_VRING_ERR, BigInt(REQUEST_QUEUE), Int32Array.of(errFd))
    const queue = frontend.queues[REQUEST_QUEUE]
    const served = queue.avail[1]
    Atomics.store(queue.avail, 1, (served + jump) & 0xffff)
    native.eventfdSignal(queue.kickFd)
    await assertLogged(t, device, 'queue broken: impossible available index')

    fs.queue = OTHER_QUEUE
    for (let n = 0; n < 10; n++) fs.getattr(ROOT_ID)
    t.equal(queue.used[1], served, 'nothing was taken from it')
    t.ok(await signalled(errFd), 'the front-end is told')

    // Correcting the index has no effect: a broken queue stays broken.
    Atomics.store(queue.avail, 1, served)
    fs.queue = REQUEST_QUEUE
    const call = fs.start({ opcode: Op.SYNCFS, nodeid: ROOT_ID, args: new Uint8Array(8), reply: EMPTY })
    fs.queue = OTHER_QUEUE
    fs.getattr(ROOT_ID)
    t.equal(queue.used[1], served)
    t.equal(frontend.stopQueue(REQUEST_QUEUE), served)
    frontend.startQueue(REQUEST_QUEUE, served)
    t.equal(fs.finish(REQUEST_QUEUE), call, 'what was put on the ring since is served when it starts anew')
    native.close(errFd)
    fs.close()
  })
}

async function signalled(fd: number): Promise<boolean> {
  const epollFd = native.epollCreate()
  native.epollAdd(epollFd, fd, native.constants.EPOLLIN, 1)
  const ready = native.epollWait(epollFd, 20_000, new Uint32Array(2))
  native.close(epollFd)
  return ready === 1
}

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
