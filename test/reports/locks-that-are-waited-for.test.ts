/** A guest's process that waits for a lock cannot be killed: the device can show and end the wait. */
import { constants, openSync, writeFileSync } from 'node:fs'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { startControlled } from '../support/device/control-client.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, setlk, startSetlkw } from '../support/fuse/posix-calls.js'
import { refused } from '../support/fuse/refusals.js'

t.setTimeout(120_000)

const { O_RDWR } = constants
const { LOCK_EX } = native.constants
const { ECANCELED, ETIMEDOUT } = { ECANCELED: 125, ETIMEDOUT: 110 }

interface Lock {
  readonly id: number
  readonly path: string
  readonly kind: string
  readonly type: string
  readonly from?: number
  readonly to?: number | null
  readonly pid: number
  readonly seconds: number
  readonly heldBy: string
}
interface Locks {
  readonly waiting: readonly Lock[]
  readonly held: readonly Lock[]
}

/** A file with two handles, and its path on the host. */
function prepare(fs: FuseGuest, directory: string) {
  writeFileSync(`${directory}/file`, 'text')
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const a = fs.open(file, O_RDWR).handle
  const b = fs.open(file, O_RDWR).handle
  return { file, a, b, hostFd: openSync(`${directory}/file`, O_RDWR) }
}

t.test('with --lock-timeout a longer wait ends with ETIMEDOUT and without a lock', async (t) => {
  const { device, control } = await startControlled(t, ['--posix-lock', '--flock', '--lock-timeout', '0.3'])
  const fs = mount(t, device)
  const { file, a, b, hostFd } = prepare(fs, device.directory)
  setlk(fs, file, a, { owner: 1n, type: F_WRLCK, start: 0, last: 9 })
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 20, 10), 0)
  t.equal(native.flock(hostFd, LOCK_EX), 0)
  const calls = [
    startSetlkw(fs, file, b, { owner: 2n, type: F_WRLCK, start: 5, last: 5 }),
    startSetlkw(fs, file, b, { owner: 2n, type: F_RDLCK, start: 20, last: 20 }),
    startSetlkw(fs, file, b, { owner: 2n, type: F_RDLCK, flock: true }),
  ]
  for (const _ of calls) fs.finish()
  t.same(
    calls.map(({ reply }) => reply?.error),
    [ETIMEDOUT, ETIMEDOUT, ETIMEDOUT],
  )
  setlk(fs, file, a, { owner: 1n, type: F_UNLCK })
  t.same((await control.ask<Locks>('locks')).held, [])
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 0, 0), 0)
})

t.test('ctl locks shows each wait, since when, and the process that holds the lock', async (t) => {
  const { device, control } = await startControlled(t, ['--posix-lock', '--flock'])
  const fs = mount(t, device)
  const { file, a, b, hostFd } = prepare(fs, device.directory)
  t.same(await control.ask<Locks>('locks'), { waiting: [], held: [] })
  setlk(fs, file, a, { owner: 1n, type: F_WRLCK, start: 0, last: 9, pid: 11 })
  t.equal(native.setRangeLock(hostFd, F_WRLCK, 20, 10), 0)
  t.equal(native.flock(hostFd, LOCK_EX), 0)
  const ofGuest = startSetlkw(fs, file, b, { owner: 2n, type: F_RDLCK, start: 5, pid: 12 })
  const ofHost = startSetlkw(fs, file, b, { owner: 3n, type: F_WRLCK, start: 20, last: 20, pid: 13 })
  const whole = startSetlkw(fs, file, b, { owner: 4n, type: F_WRLCK, flock: true, pid: 14 })
  fs.getattr(file)
  const { waiting, held } = await control.ask<Locks>('locks')
  t.same(held, [{ path: 'file', kind: 'record', type: 'write', from: 0, to: 9, pid: 11 }])
  t.same(
    waiting.map(({ seconds, ...rest }) => ({ ...rest, counts: seconds >= 0 && seconds < 20 })),
    [
      {
        id: 1,
        path: 'file',
        kind: 'record',
        type: 'read',
        from: 5,
        to: null,
        pid: 12,
        heldBy: 'process 11 of this guest',
        counts: true,
      },
      {
        id: 2,
        path: 'file',
        kind: 'record',
        type: 'write',
        from: 20,
        to: 20,
        pid: 13,
        heldBy: 'outside of this guest',
        counts: true,
      },
      {
        id: 3,
        path: 'file',
        kind: 'flock',
        type: 'write',
        pid: 14,
        heldBy: 'another open file',
        counts: true,
      },
    ],
  )
  const { memory } = await control.ask<{ memory: { waiting: number; locks: number } }>('state')
  t.ok(memory.waiting > 0 && memory.locks > 0, 'both are in the account')

  t.same(await control.ask('locks-release', 2), { released: 1 })
  t.equal(fs.finish(), ofHost)
  t.equal(ofHost.reply?.error, ECANCELED)
  t.same(await control.ask('locks-release', 2), { released: 0 }, 'not twice')
  t.match(await control.refusal('locks-release', 'two'), /number/)
  t.same(await control.ask('locks-release'), { released: 2 })
  fs.finish()
  fs.finish()
  t.same([ofGuest.reply?.error, whole.reply?.error], [ECANCELED, ECANCELED])
  setlk(fs, file, a, { owner: 1n, type: F_UNLCK })
  t.same(await control.ask<Locks>('locks'), { waiting: [], held: [] })
  t.match(await control.ask('state'), { memory: { waiting: 0, locks: 0, total: 0 } })
})

t.test('the number of locks and waits that a guest can have is bounded', async (t) => {
  const { device, control } = await startControlled(t, ['--posix-lock'])
  const fs = mount(t, device)
  const { file, a, b } = prepare(fs, device.directory)
  const memory = async () =>
    (await control.ask<{ memory: { locks: number; total: number; limit: number } }>('state')).memory
  // Every other byte, so that no two locks become one.
  const errors = new Set<number | undefined>()
  for (let byte = 0; byte < 60_000 && errors.size < 2; byte += 120) {
    const calls = Array.from({ length: 60 }, (_, n) =>
      fs.start({ opcode: Op.SETLK, nodeid: file, args: lockArgs(a, byte + 2 * n), reply: EMPTY }),
    )
    for (const _ of calls) fs.finish()
    for (const { reply } of calls) errors.add(reply?.error)
  }
  t.same([...errors], [0, 37], 'ENOLCK in the end')
  const full = await memory()
  t.ok(full.total <= full.limit, `${full.total} of ${full.limit}`)
  refused(t, 'ENOLCK', () => setlk(fs, file, b, { owner: 2n, type: F_RDLCK, start: 1n << 40n }))
  setlk(fs, file, a, { owner: 1n, type: F_UNLCK })
  t.equal((await memory()).locks, 0)
})

function lockArgs(handle: bigint, byte: number): Uint8Array {
  return concat(u64(handle, 1, byte, byte), u32(F_WRLCK, 77, 0, 0))
}
