/** Record locks as public test suites expect them: owners that wait for each other, and the lock that F_GETLK names. */
import { constants } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, getlk, setlk, startSetlkw } from '../support/fuse/posix-calls.js'

const { O_RDWR } = constants
const EDEADLK = 35

for (const [user, options] of Object.entries(users)) {
  t.test(
    `${user}: F_GETLK names the first of several locks, in whatever order they were taken`,
    async (t) => {
      const device = await Device.start(t, ['--posix-lock'], options)
      const fs = mount(t, device)
      const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
      setlk(fs, nodeid, handle, { owner: 1n, type: F_WRLCK, start: 10, last: 14 })
      setlk(fs, nodeid, handle, { owner: 1n, type: F_RDLCK, start: 1, last: 5 })
      const asked = { owner: 2n, type: F_WRLCK, start: 0, last: 100 }
      t.match(getlk(fs, nodeid, handle, asked), { type: F_RDLCK, start: 1n, last: 5n })
      setlk(fs, nodeid, handle, { owner: 1n, type: F_UNLCK, start: 1, last: 5 })
      t.match(getlk(fs, nodeid, handle, asked), { type: F_WRLCK, start: 10n, last: 14n })
    },
  )

  for (const count of [2, 3]) {
    t.test(`${user}: the last of ${count} owners that would wait in a circle gets EDEADLK`, async (t) => {
      const device = await Device.start(t, ['--posix-lock'], options)
      const fs = mount(t, device)
      const files = Array.from({ length: count }, (_, n) => fs.create(ROOT_ID, `${n}`, O_RDWR))
      const lockOf = (owner: number) => ({ owner: BigInt(owner + 1), type: F_WRLCK, start: 0, last: 9 })
      for (const [n, { nodeid, handle }] of files.entries()) setlk(fs, nodeid, handle, lockOf(n))
      // Each wants what the next has.
      const calls = files.map((_, n) => {
        const next = files[(n + 1) % count]!
        return startSetlkw(fs, next.nodeid, next.handle, lockOf(n))
      })
      t.equal(fs.finish(), calls[count - 1])
      t.equal(calls[count - 1]?.reply?.error, EDEADLK)
      // It gives up what it has, and the others get their locks one after the other.
      for (let n = count - 1; n > 0; n--) {
        const { nodeid, handle } = files[n]!
        startUnlock(fs, nodeid, handle, n)
        const done = [fs.finish(), fs.finish()]
        t.ok(done.includes(calls[n - 1]!), `owner ${n - 1} has its lock`)
        t.equal(calls[n - 1]?.reply?.error, 0)
      }
    })
  }

  t.test(`${user}: a lock that is given up closes a circle of the others: EDEADLK`, async (t) => {
    const device = await Device.start(t, ['--posix-lock'], options)
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    const lockOf = (owner: number, start: number, last: number) =>
      ({ owner: BigInt(owner), type: F_WRLCK, start, last }) as const
    setlk(fs, nodeid, handle, lockOf(1, 0, 9))
    setlk(fs, nodeid, handle, lockOf(2, 10, 19))
    setlk(fs, nodeid, handle, lockOf(3, 20, 29))
    const second = startSetlkw(fs, nodeid, handle, lockOf(2, 20, 29))
    const third = startSetlkw(fs, nodeid, handle, lockOf(3, 0, 19))
    startSetlkw(fs, nodeid, handle, { owner: 1n, type: F_UNLCK, start: 0, last: 9 })
    const ended = [fs.finish(), fs.finish()]
    t.ok(ended.includes(third))
    t.equal(third.reply?.error, EDEADLK)
    startSetlkw(fs, nodeid, handle, { owner: 3n, type: F_UNLCK, start: 20, last: 29 })
    t.ok([fs.finish(), fs.finish()].includes(second))
    t.equal(second.reply?.error, 0)
  })
}

function startUnlock(fs: ReturnType<typeof mount>, nodeid: bigint, handle: bigint, owner: number): void {
  startSetlkw(fs, nodeid, handle, { owner: BigInt(owner + 1), type: F_UNLCK, start: 0, last: 9 })
}
