/** A guest takes locks that it has not agreed on at INIT, on the queues of several threads. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { assertSurvival } from '../support/device/survival.js'
import { ThreadedDevice } from '../support/device/threaded-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { F_WRLCK, setlk } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'

t.setTimeout(60_000)

const QUEUES = [1, 2, 3]
const FILES = 20
/** The queue of the share's first thread. */
const OF_FIRST = 1

t.test('the first thread keeps them, others refuse them, and the session leaves no descriptor', async (t) => {
  const served = await ThreadedDevice.start(t, QUEUES.length, ['--posix-lock', '--flock'])
  const { device } = served
  for (let n = 0; n < FILES; n++) writeFileSync(join(device.directory, `file-${n}`), 'text')
  const first = mount(t, device, { requestQueues: QUEUES.length })
  await served.inUse(QUEUES.length)
  first.close()
  const heldBefore = await device.restingFdCount()
  for (let session = 0; session < 3; session++) {
    const fs = mount(t, device, { requestQueues: QUEUES.length })
    await served.inUse(QUEUES.length)
    for (let n = 0; n < FILES; n++) {
      fs.queue = QUEUES[n % QUEUES.length] ?? 1
      const { nodeid } = fs.lookup(ROOT_ID, `file-${n}`)
      const { handle } = fs.open(nodeid, 2)
      const lock = { owner: n, type: F_WRLCK, start: 0, last: 3 }
      for (const flock of [false, true]) {
        const take = () => setlk(fs, nodeid, handle, { ...lock, flock })
        if (fs.queue === OF_FIRST) take()
        else refused(t, 'ENOSYS', take)
      }
    }
    fs.queue = 1
    fs.destroy()
    fs.close()
  }
  await assertSurvival(t, device, heldBefore)
})
