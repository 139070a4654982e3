/** Many shares come and go beside one under load, and leave nothing. */
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'

const WARM_UP = 20
const TIMES = 60
/** The memory that V8 and malloc may keep of all of them together: less than the heap of one thread. */
const SLACK_KIB = 12 * 1024

t.test('shares that come and go leave no descriptors, threads or memory', async (t) => {
  const live = await LiveDevice.start(t, [], { sandbox: isRoot ? 'namespace' : 'none' })
  const { device } = live
  const { words } = live.share('b')
  const changes = await live.changes()
  const fs = mount(t, device)
  const control = await live.control()
  await control.ask('shares')

  const comeAndGo = async (times: number, hasGuest: boolean) => {
    for (let n = 0; n < times; n++) {
      await changes.ask('share-add', words)
      const guest = hasGuest ? mount(t, { socketPath: join(live.place, 'b') }) : undefined
      guest?.opendir(ROOT_ID)
      fs.getattr(ROOT_ID)
      await changes.ask('share-remove', 'b')
      guest?.close()
    }
  }
  const settled = (threads: number) =>
    until(
      () => live.threadCount() <= threads,
      () => `${live.threadCount()} threads, not ${threads}`,
    )
  const threads = live.threadCount()
  await comeAndGo(WARM_UP, true)
  await settled(threads)
  const files = await device.restingFdCount()
  const memoryKib = live.memoryKib()
  await comeAndGo(TIMES / 2, true)
  await comeAndGo(TIMES / 2, false)
  await settled(threads)
  await device.waitForFdCount(files)
  const grownKib = live.memoryKib() - memoryKib
  t.ok(grownKib < SLACK_KIB, `${grownKib} KiB more after ${TIMES} shares`)

  for (let n = 0; n < TIMES; n++) await t.rejects(changes.ask('share-add', `${words},xattrmap=nonsense`))
  t.equal(device.fdCount(), files, 'refusals leave nothing either')
  fs.getattr(ROOT_ID)
})
