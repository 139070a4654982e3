/**
 * However many requests a guest has in flight, each is answered, also when io_uring's queues overflow or take no more.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const BUSY_URING = fileURLToPath(new URL('../support/host/busy-uring.js', import.meta.url))
const FSYNC = 2
const O_RDWR = 2
const QUEUES = 9
const IN_EACH = 1000
/** More than fit into the completion queue of io_uring. */
const CALLS = 9000
const TIMEOUT_MS = 20_000

const engine = native.asyncCreate(1, 1, 0)
const skip = native.asyncUringFd(engine) >= 0 ? {} : { skip: 'this kernel has no io_uring, or forbids it' }

t.test(`${CALLS} results that nobody has taken are all there later`, skip, async (t) => {
  const fd = openSync(join(tempDir(t), 'file'), 'w')
  for (let token = 0; token < CALLS; token++) t.equal(native.asyncFile(FSYNC, token, fd, 0, 0, 0), 0)
  t.equal(native.asyncSubmit(engine), 0)
  const results = new Int32Array(256)
  const seen = new Set<number>()
  const epollFd = native.epollCreate()
  native.epollAdd(epollFd, native.asyncUringFd(engine), native.constants.EPOLLIN, 1)
  // Time for all of them to end.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  while (seen.size < CALLS && native.epollWait(epollFd, TIMEOUT_MS, new Uint32Array(2)) === 1) {
    const count = native.asyncReap(engine, results)
    for (let n = 0; n < count; n++) seen.add(results[2 * n])
  }
  t.equal(seen.size, CALLS)
  native.close(epollFd)
  closeSync(fd)
})

t.test('when the kernel takes no more requests, helper threads carry them out', skip, async (t) => {
  const { PATH } = process.env
  const { status, stdout, stderr } = spawnSync('env', ['-i', `PATH=${PATH}`, process.execPath, BUSY_URING], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  })
  t.same({ status, stderr }, { status: 0, stderr: '' })
  t.match(JSON.parse(stdout), { left: 64, ended: 136 })
})

for (const [user, options] of Object.entries(users)) {
  t.test(`${user}: ${QUEUES} queues of 1024, each full of FSYNC`, async (t) => {
    const device = await Device.start(t, [], { ...options, storage: 'disk' })
    const fs = mount(t, device, { queueSize: 1024, requestQueues: QUEUES })
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    const args = concat(u64(handle), u32(0, 0))
    const queues = Array.from({ length: QUEUES }, (_, n) => n + 1)
    for (let round = 0; round < 2; round++) {
      // The device is stopped meanwhile, and then finds all of them at once.
      process.kill(device.pid, 'SIGSTOP')
      for (const queue of queues)
        for (let n = 0; n < IN_EACH; n++) fs.start({ opcode: Op.FSYNC, nodeid, args, reply: EMPTY }, queue)
      process.kill(device.pid, 'SIGCONT')
      for (const queue of queues) for (let n = 0; n < IN_EACH; n++) t.equal(fs.finish(queue).reply?.error, 0)
    }
    const base = fs.frontend.stopQueue(1)
    t.type(base, 'number', 'a queue can be stopped')
    fs.close()
  })
}
