/** --posix-lock and --flock: locks hold against processes of the host and other guests, and end with the guest. */
import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { waitingLockCases } from '../../opcodes/locks.js'
import { runCases } from '../../support/device/cases.js'
import { Device, sleep } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import { mount } from '../../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, getlk, setlk, startSetlkw } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const { O_RDONLY, O_RDWR, O_WRONLY } = constants
const { LOCK_EX, LOCK_UN } = native.constants
const ONE = 1n
const TWO = 2n

const options = ['--posix-lock', '--flock', '--keep-alive']
const casesDevice = await Device.start(t, options)

const errorOf = (call: Call) => call.reply?.error

runCases(t, casesDevice, mount(t, casesDevice), waitingLockCases)

t.test('record locks: a process of the host and a guest exclude each other', async (t) => {
  const device = await Device.start(t, options)
  writeFileSync(`${device.directory}/file`, 'text')
  const hostFd = openSync(`${device.directory}/file`, O_RDWR)
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const { handle } = fs.open(file, O_RDWR)
  setlk(fs, file, handle, { owner: ONE, type: F_WRLCK, start: 10, last: 19 })
  t.ok(native.setRangeLock(hostFd, F_RDLCK, 0, 11) < 0, 'the host meets the lock of the guest')
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 10), 0)
  refused(t, 'EAGAIN', () => setlk(fs, file, handle, { owner: ONE, type: F_RDLCK, start: 9, last: 9 }))
  const found = getlk(fs, file, handle, { owner: ONE, type: F_WRLCK })
  t.same(
    found,
    { start: 0n, last: 9n, type: F_WRLCK, pid: 0 },
    'a process of the host has no number in the guest',
  )

  const waiting = startSetlkw(fs, file, handle, { owner: TWO, type: F_WRLCK, start: 5, last: 5 })
  fs.getattr(file)
  t.equal(native.setRangeLock(hostFd, F_UNLCK, 0, 0), 0)
  t.equal(fs.finish(), waiting)
  t.equal(errorOf(waiting), 0)
  closeSync(hostFd)
})

t.test('GETLK of an owner with two handles reports locks of the host, not its own', async (t) => {
  const device = await Device.start(t, options)
  writeFileSync(`${device.directory}/file`, 'text')
  const hostFd = openSync(`${device.directory}/file`, O_RDWR)
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const reader = fs.open(file, O_RDONLY).handle
  const writer = fs.open(file, O_WRONLY).handle
  setlk(fs, file, reader, { owner: ONE, type: F_RDLCK, start: 0, last: 9 })
  setlk(fs, file, writer, { owner: ONE, type: F_WRLCK, start: 20, last: 29 })
  for (const type of [F_RDLCK, F_WRLCK])
    for (const handle of [reader, writer])
      t.equal(
        getlk(fs, file, handle, { owner: ONE, type }).type,
        F_UNLCK,
        'its own locks are in nobody’s way',
      )
  // Between, across and after the guest's own locks.
  for (const [start, last, type] of [
    [12, 15, F_WRLCK],
    [5, 9, F_RDLCK],
    [40, 49, F_WRLCK],
  ] as const) {
    t.equal(native.setRangeLock(hostFd, type, start, last - start + 1), 0)
    const found = getlk(fs, file, writer, { owner: ONE, type: F_WRLCK })
    t.same(found, { start: BigInt(start), last: BigInt(last), type, pid: 0 })
    t.equal(native.setRangeLock(hostFd, F_UNLCK, 0, 0), 0)
  }
  closeSync(hostFd)
})

t.test('flock: a process of the host and a guest exclude each other', async (t) => {
  const device = await Device.start(t, options)
  writeFileSync(`${device.directory}/file`, 'text')
  const hostFd = openSync(`${device.directory}/file`, O_RDWR)
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const { handle } = fs.open(file, O_RDWR)
  t.equal(native.flock(hostFd, LOCK_EX), 0)
  refused(t, 'EAGAIN', () => setlk(fs, file, handle, { owner: ONE, type: F_RDLCK, flock: true }))
  const waiting = startSetlkw(fs, file, handle, { owner: ONE, type: F_WRLCK, flock: true })
  fs.getattr(file)
  t.equal(native.flock(hostFd, LOCK_UN), 0)
  t.equal(fs.finish(), waiting)
  t.equal(errorOf(waiting), 0)
  t.ok(native.flock(hostFd, LOCK_EX) < 0, 'the host meets the lock of the guest')
  closeSync(hostFd)
})

t.test('the locks and waits of a guest end when it leaves', async (t) => {
  const device = await Device.start(t, options)
  const heldBefore = device.fdCount()
  writeFileSync(`${device.directory}/file`, 'text')
  const hostFd = openSync(`${device.directory}/file`, O_RDWR)
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 100, 1), 0)
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const { handle } = fs.open(file, O_RDWR)
  setlk(fs, file, handle, { owner: ONE, type: F_WRLCK, start: 0, last: 9 })
  setlk(fs, file, handle, { owner: ONE, type: F_WRLCK, flock: true })
  for (let n = 0; n < 20; n++)
    startSetlkw(fs, file, handle, { owner: 10n + BigInt(n), type: F_WRLCK, start: 100, last: 100 })
  fs.close()
  await device.waitForFdCount(heldBefore)
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 0), 0)
  t.equal(native.flock(hostFd, LOCK_EX), 0)
  closeSync(hostFd)

  const next = mount(t, device)
  const again = next.lookup(ROOT_ID, 'file').nodeid
  const opened = next.open(again, O_RDWR)
  setlk(next, again, opened.handle, { owner: ONE, type: F_WRLCK })
  t.equal(next.getattr(again).attr.size, 4n)
})

t.test('locks of two guests on one directory exclude each other, until one guest leaves', async (t) => {
  const one = await Device.start(t, options)
  const two = await Device.start(t, options, { directory: one.directory })
  writeFileSync(`${one.directory}/file`, 'text')
  const guests = [one, two].map((device) => {
    const fs = mount(t, device)
    const file = fs.lookup(ROOT_ID, 'file').nodeid
    return { fs, file, handle: fs.open(file, O_RDWR).handle }
  })
  const [first, second] = guests
  setlk(first.fs, first.file, first.handle, { owner: ONE, type: F_WRLCK })
  refused(t, 'EAGAIN', () => setlk(second.fs, second.file, second.handle, { owner: ONE, type: F_RDLCK }))
  const waiting = startSetlkw(second.fs, second.file, second.handle, { owner: ONE, type: F_WRLCK })
  await sleep(100)
  first.fs.close()
  t.equal(second.fs.finish(), waiting)
  t.equal(errorOf(waiting), 0)
})

t.test('when the rings stop, a guest that waits for a lock gets EAGAIN', async (t) => {
  const device = await Device.start(t, options)
  writeFileSync(`${device.directory}/file`, 'text')
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const { handle } = fs.open(file, O_RDWR)
  setlk(fs, file, handle, { owner: ONE, type: F_WRLCK })
  const waiting = startSetlkw(fs, file, handle, { owner: TWO, type: F_WRLCK })
  fs.getattr(file)
  fs.frontend.stopQueue(fs.queue)
  t.equal(fs.finish(), waiting)
  t.equal(errorOf(waiting), 11)
})

t.test(
  '--noflush is not told to guests whose record locks are kept here: they unlock by FLUSH',
  async (t) => {
    for (const [args, noflush] of [
      [['--noflush'], 32],
      [['--noflush', '--posix-lock'], 0],
    ] as const) {
      const device = await Device.start(t, [...args])
      const fs = mount(t, device, { init: { flags: 0xffff_ffff_7fff_ffffn } })
      t.equal(fs.create(ROOT_ID, 'file', O_RDWR).flags & 32, noflush)
    }
  },
)
