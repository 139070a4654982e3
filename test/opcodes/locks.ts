import { strict as assert } from 'node:assert'
import { constants } from 'node:fs'
import type { Case, Stage } from '../support/device/cases.js'
import type { Call } from '../support/fuse/fuse-client.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, flushBy, getlk, setlk, startSetlkw } from '../support/fuse/posix-calls.js'
import { errorOf, fails } from '../support/fuse/refusals.js'

const { O_RDONLY, O_RDWR } = constants
const ONE = 0x8877_6655_4433_2211n
const TWO = 0x8877_6655_4433_2212n
const LAST_BYTE = (1n << 63n) - 1n

/** A file that the guest has open twice: node id and both handles. */
function withFile({ fs, dir }: Stage, work: (file: bigint, a: bigint, b: bigint) => void): void {
  const { nodeid, handle } = fs.create(dir, 'file', O_RDWR)
  const second = fs.open(nodeid, O_RDWR).handle
  work(nodeid, handle, second)
  fs.release(nodeid, handle)
  fs.release(nodeid, second)
}

const isWaiting = (call: Call) => call.reply === undefined
const errorOfReply = (call: Call) => call.reply?.error

export const lockCases: readonly Case[] = [
  {
    name: 'SETLK: write locks of two owners exclude each other, read locks do not, unlocking frees',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 10, last: 19 })
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 10, last: 19 })
        fails('EAGAIN', () => setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 19, last: 30 }))
        fails('EAGAIN', () => setlk(fs, file, b, { owner: TWO, type: F_RDLCK, start: 0, last: 10 }))
        setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 20, last: LAST_BYTE })
        setlk(fs, file, a, { owner: ONE, type: F_RDLCK, start: 10, last: 19 })
        setlk(fs, file, b, { owner: TWO, type: F_RDLCK, start: 0, last: 10 })
        setlk(fs, file, b, { owner: TWO, type: F_UNLCK })
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK })
      })
    },
  },
  {
    name: 'GETLK says whose lock is in the way, and F_UNLCK when none is',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 10, last: 19, pid: 4711 })
        const found = getlk(fs, file, b, { owner: TWO, type: F_RDLCK, start: 0 })
        assert.deepEqual(found, { start: 10n, last: 19n, type: F_WRLCK, pid: 4711 })
        assert.equal(getlk(fs, file, b, { owner: TWO, type: F_RDLCK, start: 20, last: 30 }).type, F_UNLCK)
        assert.equal(getlk(fs, file, a, { owner: ONE, type: F_WRLCK }).type, F_UNLCK, 'not in its own way')
        setlk(fs, file, a, { owner: ONE, type: F_RDLCK, start: 100, pid: 4712 })
        const open = getlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 50 })
        assert.deepEqual(open, { start: 100n, last: LAST_BYTE, type: F_RDLCK, pid: 4712 })
      })
    },
  },
  {
    name: 'FLUSH gives up the locks of who closes, and of nobody else',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 0, last: 9 })
        setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 10, last: 19 })
        flushBy(fs, file, b, ONE)
        setlk(fs, file, b, { owner: TWO, type: F_WRLCK, start: 0, last: 9 })
        fails('EAGAIN', () => setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 15, last: 15 }))
      })
    },
  },
  {
    name: 'flock through SETLK belongs to the open file: handles exclude each other, releasing one frees',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_RDLCK, flock: true })
        setlk(fs, file, b, { owner: ONE, type: F_RDLCK, flock: true })
        fails('EAGAIN', () => setlk(fs, file, b, { owner: ONE, type: F_WRLCK, flock: true }))
        setlk(fs, file, a, { owner: ONE, type: F_UNLCK, flock: true })
        setlk(fs, file, b, { owner: TWO, type: F_WRLCK, flock: true })
        const third = fs.open(file, O_RDONLY).handle
        fails('EAGAIN', () => setlk(fs, file, third, { owner: TWO, type: F_RDLCK, flock: true }))
        setlk(fs, file, b, { owner: TWO, type: F_UNLCK, flock: true })
        setlk(fs, file, third, { owner: ONE, type: F_RDLCK, flock: true })
        fails('EAGAIN', () => setlk(fs, file, b, { owner: TWO, type: F_WRLCK, flock: true }))
        fs.release(file, third)
        setlk(fs, file, b, { owner: TWO, type: F_WRLCK, flock: true })
      })
    },
  },
  {
    name: 'locks on an unlinked file work',
    run(stage) {
      const { fs, dir } = stage
      withFile(stage, (file, a, b) => {
        fs.unlink(dir, 'file')
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK })
        fails('EAGAIN', () => setlk(fs, file, b, { owner: TWO, type: F_RDLCK }))
      })
    },
  },
  {
    name: 'hostile locks: handles that are none (EBADF), types and ranges that are none (EINVAL, EOVERFLOW)',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a) => {
        for (const type of [F_RDLCK, F_WRLCK, F_UNLCK])
          fails('EBADF', () => setlk(fs, file, a + 100n, { owner: ONE, type }))
        fails('EBADF', () => setlk(fs, file, (1n << 64n) - 1n, { owner: ONE, type: F_WRLCK, flock: true }))
        fails('EBADF', () => getlk(fs, file, 0n, { owner: ONE, type: F_WRLCK }))
        for (const type of [3, 4, 0x8000_0000, 0xffff_ffff]) {
          fails('EINVAL', () => setlk(fs, file, a, { owner: ONE, type }))
          fails('EINVAL', () => setlk(fs, file, a, { owner: ONE, type, flock: true }))
          fails('EINVAL', () => getlk(fs, file, a, { owner: ONE, type }))
        }
        fails('EINVAL', () => getlk(fs, file, a, { owner: ONE, type: F_UNLCK }))
        fails('EINVAL', () => setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 5, last: 4 }))
        fails('EOVERFLOW', () => setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 1n << 53n }))
        fails('EOVERFLOW', () => setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: (1n << 64n) - 1n }))
        assert.equal(
          errorOf(() => setlk(fs, file, a, { owner: ONE, type: F_UNLCK })),
          'no error',
        )
      })
    },
  },
]

/** Cases with two requests in flight at a time. */
export const waitingLockCases: readonly Case[] = [
  {
    name: 'SETLKW is answered when the lock is free, and other requests do not wait for it',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 0, last: 9 })
        const waiting = startSetlkw(fs, file, b, { owner: TWO, type: F_WRLCK, start: 5, last: 6 })
        fs.write(file, a, 0, Uint8Array.of(1, 2, 3))
        assert.equal(fs.getattr(file).attr.size, 3n)
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, start: 20, last: 29 })
        assert.ok(isWaiting(waiting))
        setlk(fs, file, a, { owner: ONE, type: F_UNLCK, start: 0, last: 9 })
        assert.equal(fs.finish(), waiting)
        assert.equal(errorOfReply(waiting), 0)
        fails('EAGAIN', () => setlk(fs, file, a, { owner: ONE, type: F_RDLCK, start: 5, last: 5 }))
      })
    },
  },
  {
    name: 'SETLKW of a flock is answered when the file is free',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, a, b) => {
        setlk(fs, file, a, { owner: ONE, type: F_WRLCK, flock: true })
        const waiting = startSetlkw(fs, file, b, { owner: ONE, type: F_RDLCK, flock: true })
        assert.equal(fs.getattr(file).attr.size, 0n)
        assert.ok(isWaiting(waiting))
        setlk(fs, file, a, { owner: TWO, type: F_UNLCK, flock: true })
        assert.equal(fs.finish(), waiting)
        assert.equal(errorOfReply(waiting), 0)
        fails('EAGAIN', () => setlk(fs, file, a, { owner: TWO, type: F_WRLCK, flock: true }))
      })
    },
  },
]
