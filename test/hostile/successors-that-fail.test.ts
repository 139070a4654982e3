/** A successor ends, hangs or sends wrong messages at each step: the process before it goes on serving. */
import { constants, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { fakeSuccessorProgram } from '../support/device/fake-successor-program.js'
import { LiveDevice, until } from '../support/device/live-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { F_WRLCK, setlk, startSetlkw } from '../support/fuse/posix-calls.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(240_000)

const { O_RDWR } = constants
const EAGAIN = 11

const steps: Readonly<Record<string, RegExp>> = {
  start: /ended before it was ready/,
  offer: /ended before it was ready/,
  refused: /it is Sunday/,
  'too soon': /the new process said taken/,
  'other shares': /shares have come or gone/,
  'without sockets': /shares have come or gone/,
  ready: /ended before it was taken/,
  'refused later': /it is Monday/,
  state: /ended before it was taken/,
  received: /ended before it was taken/,
  taken: /ended before it served/,
  go: /ended before it served/,
  'ready, hanging': /took too long/,
  'received, hanging': /took too long/,
}

t.test('the old process goes on', async (t) => {
  const live = await LiveDevice.start(t, ['--posix-lock'])
  const { device } = live
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const listing = fs.opendir(ROOT_ID)
  const hostFd = openSync(join(device.directory, 'file'), O_RDWR)
  setlk(fs, file.nodeid, file.handle, { owner: 1n, type: F_WRLCK, start: 0, last: 9 })
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 40, 1), 0)
  const waits = startSetlkw(fs, file.nodeid, file.handle, { owner: 2n, type: F_WRLCK, start: 40, last: 40 })
  const { pid } = device
  const fds = device.fdCount()
  for (const [name, reason] of Object.entries(steps)) {
    await t.rejects(live.replace({ with: fakeSuccessorProgram(t, name) }), { message: reason }, name)
    device.findServingProcess()
    t.equal(device.pid, pid, `${name}: the same process serves`)
    const call = fs.start(fs.getattrRequest(file.nodeid))
    t.equal(fs.finish(), call)
    t.equal(fs.write(file.nodeid, file.handle, 0n, new Uint8Array(10)), 10)
    t.ok(fs.readdir(ROOT_ID, listing.handle, 0n).length >= 3)
    t.equal(native.setRangeLock(hostFd, F_WRLCK, 5, 1), -EAGAIN, 'the lock is still held')
    t.equal(waits.reply, undefined)
  }
  await device.waitForFdCount(fds)
  native.close(hostFd)
  t.equal(fs.finish(), waits)
  t.equal(waits.reply?.error, 0)
  await live.replace()
  t.not(device.pid, pid, 'and another one can still replace it')
  t.equal(fs.write(file.nodeid, file.handle, 0n, new Uint8Array(10)), 10)
})

t.test('a front-end that comes while a share without one is handed over is not lost', async (t) => {
  const live = await LiveDevice.start(t)
  const handedOver = join(tempDir(t), 'handed-over')
  const program = fakeSuccessorProgram(t, 'received, hanging', handedOver)
  const refused = t.rejects(live.replace({ with: program }), { message: /took too long/ })
  await until(
    () => existsSync(handedOver),
    () => 'the share is not handed over',
  )
  mount(t, live.device).mkdir(ROOT_ID, 'made')
  await refused
})
