/** A lock needs no more permission than its handle has: the file's mode may forbid to open it again. */
import { chmodSync, constants } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, getlk, setlk } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'

const { O_RDONLY, O_RDWR, O_WRONLY } = constants
const MODES = [0o444, 0o400, 0o200, 0o222, 0o100, 0, 0o644]
const [ONE, TWO] = [1n, 2n]

const ways = Object.entries(users).flatMap(([user, options]) => [
  { way: `as ${user}`, args: [], options },
  { way: `as ${user}, --map-to-me`, args: ['--map-to-me'], options },
  { way: `as ${user}, --writeback`, args: ['--writeback', '--cache', 'always'], options },
])

for (const { way, args, options } of ways) {
  t.test(way, async (t) => {
    const device = await Device.start(t, ['--posix-lock', '--flock', ...args], options)
    const fs = mount(t, device)
    for (const mode of MODES) {
      const name = `file-${mode.toString(8)}`
      const { nodeid: file, handle } = fs.create(ROOT_ID, name, O_RDWR, mode)
      setlk(fs, file, handle, { owner: ONE, type: F_WRLCK, start: 0, last: 9, pid: 11 })
      // Two processes that share one open file, as after fork(2).
      setlk(fs, file, handle, { owner: TWO, type: F_RDLCK, start: 10, last: 19, pid: 12 })
      refused(t, 'EAGAIN', () => setlk(fs, file, handle, { owner: TWO, type: F_RDLCK, start: 9, last: 9 }))
      t.equal(getlk(fs, file, handle, { owner: TWO, type: F_WRLCK }).pid, 11, name)
      setlk(fs, file, handle, { owner: ONE, type: F_UNLCK })
      setlk(fs, file, handle, { owner: TWO, type: F_WRLCK })
      setlk(fs, file, handle, { owner: TWO, type: F_WRLCK, flock: true })
      fs.release(file, handle)
      const writing = fs.create(ROOT_ID, `${name}-w`, O_WRONLY, mode)
      setlk(fs, writing.nodeid, writing.handle, { owner: ONE, type: F_WRLCK })
      const reading = fs.create(ROOT_ID, `${name}-r`, O_RDONLY, mode)
      setlk(fs, reading.nodeid, reading.handle, { owner: ONE, type: F_RDLCK })
    }
    const { nodeid, handle } = fs.create(ROOT_ID, 'changed', O_RDWR)
    chmodSync(`${device.directory}/changed`, 0o444)
    setlk(fs, nodeid, handle, { owner: ONE, type: F_WRLCK })
    t.pass('a file that is made read-only while it is open')
  })
}

t.test('a lock of a kind that the handle is not open for gets EBADF', async (t) => {
  const device = await Device.start(t, ['--posix-lock'])
  const fs = mount(t, device)
  const { nodeid } = fs.create(ROOT_ID, 'file', O_RDWR)
  const reading = fs.open(nodeid, O_RDONLY).handle
  const writing = fs.open(nodeid, O_WRONLY).handle
  refused(t, 'EBADF', () => setlk(fs, nodeid, reading, { owner: ONE, type: F_WRLCK }))
  refused(t, 'EBADF', () => setlk(fs, nodeid, writing, { owner: ONE, type: F_RDLCK }))
})

t.test('locks use no descriptors', async (t) => {
  const device = await Device.start(t, ['--posix-lock'])
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  const before = device.fdCount()
  for (let owner = 0; owner < 20; owner++)
    setlk(fs, nodeid, handle, { owner: BigInt(owner), type: F_WRLCK, start: owner, last: owner })
  t.equal(device.fdCount(), before)
})
