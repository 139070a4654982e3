/** Linux sends no unlock for an OFD lock when its open file is closed: the lock ends at the handle's RELEASE. */
import { closeSync, constants, openSync } from 'node:fs'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { policies, users } from '../support/device/users.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import { u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, flushBy, getlk, setlk, startSetlkw } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'

t.setTimeout(200_000)

const { O_RDONLY, O_RDWR, O_WRONLY } = constants
const [ONE, TWO, PROCESS] = [1n, 2n, 99n]

for (const [user, options] of Object.entries(users)) {
  for (const [policy, args] of Object.entries(policies)) {
    t.test(`${user}, ${policy}`, async (t) => {
      const device = await Device.start(t, ['--posix-lock', '--flock', '--keep-alive', ...args], options)
      const fs = mount(t, device)

      /** A file that is open under three handles. */
      function opened(name: string, flags = O_RDWR) {
        const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
        return { file: nodeid, a: handle, b: fs.open(nodeid, flags).handle, c: fs.open(nodeid, flags).handle }
      }

      function startRelease(file: bigint, handle: bigint) {
        return fs.start({ opcode: Op.RELEASE, nodeid: file, args: u64(handle, 0, 0), reply: EMPTY })
      }

      t.test(
        'a lock ends with its handle while others have the file open, for the guest and for the host',
        async (t) => {
          const { file, a, b } = opened('released')
          const hostFd = openSync(`${device.directory}/released`, O_RDWR)
          setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 100, last: 100 })
          flushBy(fs, file, a, PROCESS)
          refused(t, 'EAGAIN', () => setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 100, last: 100 }))
          fs.release(file, a)
          t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 0), 0, 'the host')
          t.equal(native.setRangeLock(hostFd, F_UNLCK, 0, 0), 0)
          setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 100, last: 100 })
          t.equal(getlk(fs, file, b, { owner: ONE, type: F_WRLCK }).start, 100n)
          closeSync(hostFd)
        },
      )

      t.test('a process that waits for the lock gets it', async (t) => {
        const { file, a, b } = opened('waited-for')
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK })
        const waiting = startSetlkw(fs, file, b, { owner: TWO, type: F_WRLCK })
        fs.getattr(file)
        t.equal(waiting.reply, undefined)
        const release = startRelease(file, a)
        t.same(
          new Set([fs.finish(), fs.finish()]),
          new Set([release, waiting]),
          'both the release and the lock are answered',
        )
        t.equal(waiting.reply?.error, 0)
      })

      t.test('locks of other handles stay, also those that were shared with it', async (t) => {
        const { file, a, b, c } = opened('others')
        setlk(fs, file, a, { owner: ONE, type: F_RDLCK, start: 0, last: 9 })
        setlk(fs, file, b, { owner: TWO, type: F_RDLCK, start: 5, last: 19 })
        fs.release(file, a)
        const hostFd = openSync(`${device.directory}/others`, O_RDWR)
        t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 5), 0, 'what only the released handle had')
        t.ok(native.setRangeLock(hostFd, F_WRLCK, 5, 1) < 0, 'what both had')
        t.ok(native.setRangeLock(hostFd, F_WRLCK, 19, 1) < 0, 'what the other had')
        closeSync(hostFd)
        refused(t, 'EAGAIN', () => setlk(fs, file, c, { owner: 3n, type: F_WRLCK, start: 7, last: 7 }))
      })

      t.test('a process that locks through two handles loses nothing with one of them', async (t) => {
        const { file, a, b, c } = opened('two-handles')
        setlk(fs, file, a, { owner: PROCESS, type: F_WRLCK, start: 0, last: 9 })
        setlk(fs, file, b, { owner: PROCESS, type: F_WRLCK, start: 0, last: 9 })
        fs.release(file, a)
        refused(t, 'EAGAIN', () => setlk(fs, file, c, { owner: TWO, type: F_RDLCK, start: 3, last: 3 }))
        flushBy(fs, file, c, PROCESS)
        setlk(fs, file, c, { owner: TWO, type: F_RDLCK, start: 3, last: 3 })
      })

      t.test('a released handle waits for nothing', async (t) => {
        const { file, a, b, c } = opened('waits')
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK })
        const waiting = startSetlkw(fs, file, b, { owner: TWO, type: F_WRLCK })
        fs.getattr(file)
        const release = startRelease(file, b)
        fs.finish()
        fs.finish()
        t.equal(release.reply?.error, 0)
        t.equal(waiting.reply?.error, 9, 'EBADF')
        setlk(fs, file, a, { owner: ONE, type: F_UNLCK })
        setlk(fs, file, c, { owner: 3n, type: F_WRLCK })
      })

      t.test(
        'a lock that moves from a handle for reading to one for both: the host never gets in between',
        async (t) => {
          fs.create(ROOT_ID, 'moves', O_RDWR)
          const file = fs.lookup(ROOT_ID, 'moves').nodeid
          const reading = fs.open(file, O_RDONLY).handle
          const both = fs.open(file, O_RDWR).handle
          const hostFd = openSync(`${device.directory}/moves`, O_RDWR)
          setlk(fs, file, reading, { owner: PROCESS, type: F_RDLCK, start: 0, last: 9 })
          setlk(fs, file, reading, { owner: TWO, type: F_RDLCK, start: 20, last: 29 })
          setlk(fs, file, both, { owner: PROCESS, type: F_WRLCK, start: 0, last: 9 })
          t.ok(native.setRangeLock(hostFd, F_RDLCK, 0, 1) < 0, 'written')
          t.ok(native.setRangeLock(hostFd, F_WRLCK, 20, 1) < 0, 'read by another')
          fs.release(file, both)
          t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 10), 0)
          t.ok(native.setRangeLock(hostFd, F_WRLCK, 29, 1) < 0, 'still read by another')
          fs.release(file, reading)
          t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 0), 0, 'nothing is left')
          closeSync(hostFd)
        },
      )

      t.test('one handle for reading and one for writing: what a process converts is its own', async (t) => {
        fs.create(ROOT_ID, 'halves', O_RDWR)
        const file = fs.lookup(ROOT_ID, 'halves').nodeid
        const reading = fs.open(file, O_RDONLY).handle
        const writing = fs.open(file, O_WRONLY).handle
        setlk(fs, file, reading, { owner: PROCESS, type: F_RDLCK, start: 0, last: 9 })
        setlk(fs, file, writing, { owner: PROCESS, type: F_WRLCK, start: 5, last: 14 })
        setlk(fs, file, reading, { owner: PROCESS, type: F_RDLCK, start: 5, last: 9 })
        const hostFd = openSync(`${device.directory}/halves`, O_RDWR)
        t.equal(native.setRangeLock(hostFd, F_RDLCK, 0, 10), 0, 'read')
        t.ok(native.setRangeLock(hostFd, F_RDLCK, 10, 1) < 0, 'written')
        t.equal(native.setRangeLock(hostFd, F_UNLCK, 0, 0), 0)
        // The conversion fails, and the old lock stays.
        t.equal(native.setRangeLock(hostFd, F_RDLCK, 2, 1), 0)
        refused(t, 'EAGAIN', () =>
          setlk(fs, file, writing, { owner: PROCESS, type: F_WRLCK, start: 0, last: 4 }),
        )
        t.equal(native.setRangeLock(hostFd, F_UNLCK, 0, 0), 0)
        t.ok(native.setRangeLock(hostFd, F_WRLCK, 0, 1) < 0, 'still read by the guest')
        closeSync(hostFd)
      })
    })
  }
}
