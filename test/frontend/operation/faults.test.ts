/** Holds, delays, errors, short replies and violations as the guest sees them, switched on and off while it runs. */
import t from 'tap'
import { startControlled } from '../../support/device/control-client.js'
import { Init, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { LINUX_7_3 } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll, startWrite } from '../../support/fuse/writers.js'

const O_RDWR = 2
/** Only a hold that never ends waits so long. */
const LONG_MS = 20_000
const DELAY_MS = 60

/** How long something takes, in milliseconds. */
function timed(run: () => unknown): number {
  const startMs = performance.now()
  run()
  return performance.now() - startMs
}

t.test('an errno fault fails the chosen opcodes and paths, until it is removed', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'database.db', O_RDWR)
  const other = fs.create(ROOT_ID, 'other', O_RDWR)
  const { id } = await control.ask<{ id: number }>('fault-add', {
    opcodes: ['WRITE'],
    path: '*.db',
    errno: 'ENOSPC',
  })
  t.throws(() => fs.write(file.nodeid, file.handle, 0, Uint8Array.of(1)), { code: 'ENOSPC' })
  t.equal(fs.getattr(file.nodeid).attr.size, 0n, 'it was not carried out')
  t.equal(fs.write(other.nodeid, other.handle, 0, Uint8Array.of(1)), 1)
  t.match(await control.faults(), [{ id, applied: 1, heldNow: 0 }])
  t.same(await control.ask('fault-remove', id), { removed: id })
  t.equal(fs.write(file.nodeid, file.handle, 0, Uint8Array.of(1)), 1)
  t.match(await control.refusal('fault-remove', id), /no fault has number/)
})

t.test('a path fault matches operations on names by the path of the name', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const dir = fs.mkdir(ROOT_ID, 'dir').nodeid
  await control.ask('fault-add', { opcodes: ['MKDIR', 'LOOKUP'], path: 'dir/secret*', errno: 'EACCES' })
  t.throws(() => fs.mkdir(dir, 'secret-1'), { code: 'EACCES' })
  t.throws(() => fs.lookup(dir, 'secret-2'), { code: 'EACCES' })
  fs.mkdir(dir, 'public')
  fs.mkdir(ROOT_ID, 'secret-1')
})

t.test('limit and probability bound how often a fault is applied', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const failures = (count: number) => {
    let failed = 0
    for (let n = 0; n < count; n++) {
      try {
        fs.getattr(ROOT_ID)
      } catch {
        failed++
      }
    }
    return failed
  }
  await control.ask('fault-add', { opcodes: ['GETATTR'], errno: 'EIO', limit: 3 })
  t.equal(failures(10), 3)
  await control.ask('fault-clear')
  await control.ask('fault-add', { opcodes: ['GETATTR'], errno: 'EIO', probability: 0.5 })
  const half = failures(400)
  t.ok(half > 100 && half < 300, `${half} of 400`)
})

t.test('a delay delays no other request', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  await control.ask('fault-add', { opcodes: ['WRITE'], delay: { fixedMs: DELAY_MS } })
  t.ok(timed(() => fs.write(file.nodeid, file.handle, 0, Uint8Array.of(1))) >= DELAY_MS)
  await control.ask('fault-clear')
  await control.ask('fault-add', { opcodes: ['WRITE'], delay: { fixedMs: LONG_MS } })
  const slow = startWrite(fs, file, 0)
  for (let n = 0; n < 20; n++) fs.getattr(ROOT_ID)
  t.equal(slow.reply, undefined, 'twenty others were answered first')
  t.same(await control.ask('release'), { released: 1 })
  finishAll(fs, [slow])
  for (const delay of [{ uniformMs: [1, 2] }, { exponentialMs: 1 }, { normalMs: [2, 1] }]) {
    await control.ask('fault-clear')
    await control.ask('fault-add', { opcodes: ['WRITE'], delay })
    t.equal(fs.write(file.nodeid, file.handle, 0, Uint8Array.of(1)), 1, JSON.stringify(delay))
    t.match(await control.faults(), [{ applied: 1 }])
  }
})

t.test('a hold ends when enough requests are there, or when its time has passed', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const [one, two] = ['one', 'two'].map((name) => fs.create(ROOT_ID, name, O_RDWR))
  if (one === undefined || two === undefined) throw new Error('no files')
  await control.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 2, timeoutMs: LONG_MS } })
  const first = startWrite(fs, one, 0)
  const stranger = startWrite(fs, two, 0)
  fs.getattr(ROOT_ID)
  t.equal(first.reply, undefined, 'a writer of another file does not open it')
  const second = startWrite(fs, one, 0)
  finishAll(fs, [first, second])
  t.equal(stranger.reply, undefined)
  t.match(await control.faults(), [{ applied: 3, heldNow: 1 }])
  await control.ask('fault-clear')
  finishAll(fs, [stranger])
  await control.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 2, timeoutMs: DELAY_MS } })
  t.ok(timed(() => finishAll(fs, [startWrite(fs, one, 0)])) >= DELAY_MS)
})

t.test('short-bytes shortens READ and WRITE', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.write(file.nodeid, file.handle, 0, new Uint8Array(100))
  await control.ask('fault-add', { opcodes: ['READ', 'WRITE'], shortBytes: 10 })
  t.equal(fs.read(file.nodeid, file.handle, 0, 100).length, 10)
  t.equal(fs.write(file.nodeid, file.handle, 100, new Uint8Array(100)), 10)
  t.equal(fs.getattr(file.nodeid).attr.size, 110n)
})

t.test('held requests are released when the guest leaves', async (t) => {
  const { device, control } = await startControlled(t)
  await control.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 9, timeoutMs: LONG_MS } })
  const held = device.fdCount()
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  for (let n = 0; n < 3; n++) startWrite(fs, file, 0)
  fs.getattr(ROOT_ID)
  t.match(await control.faults(), [{ heldNow: 3 }])
  fs.close()
  await device.waitForFdCount(held)
  t.match(await control.faults(), [{ heldNow: 0 }])
  mount(t, device).getattr(ROOT_ID)
})

t.test('violations need --unsafe-faults', async (t) => {
  const { device, control } = await startControlled(t)
  t.match(
    await control.refusal('fault-add', { opcodes: ['GETATTR'], violation: 'unique' }),
    /--unsafe-faults/,
  )
  mount(t, device).getattr(ROOT_ID)
})

t.test('each violation is one that a verifying guest notices', async (t) => {
  const { device, control } = await startControlled(t, ['--unsafe-faults'])
  const complaints = {
    unique: /unique/,
    length: /len/,
    'positive-error': /error/,
    'error-with-data': /behind the header/,
    'no-data': /short|len|bytes/,
  }
  for (const [violation, complaint] of Object.entries(complaints)) {
    const fs = mount(t, device)
    await control.ask('fault-add', { opcodes: ['GETATTR'], violation })
    t.throws(() => fs.getattr(ROOT_ID), complaint, violation)
    await control.ask('fault-clear')
    fs.close()
  }
  mount(t, device).getattr(ROOT_ID)
})

t.test('withheld opcodes get ENOSYS in a well-formed reply', async (t) => {
  const { device, control } = await startControlled(t, ['--withhold', 'LSEEK+SYNCFS'])
  const fs = mount(t, device)
  t.throws(() => fs.syncfs(), { code: 'ENOSYS' })
  t.same(await control.ask('withhold', ['FALLOCATE']), { withheld: ['FALLOCATE'] })
  fs.syncfs()
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  t.throws(() => fs.fallocate(file.nodeid, file.handle, 0, 1), { code: 'ENOSYS' })
  await control.ask('withhold', [])
  fs.fallocate(file.nodeid, file.handle, 0, 1)
})

t.test('init changes the reply to INIT', async (t) => {
  const { device, control } = await startControlled(t, ['--init-off', 'ASYNC_DIO', '--init-minor', '31'])
  const asyncDio = 1n << BigInt(Init.ASYNC_DIO)
  const mmap = 1n << BigInt(Init.DIRECT_IO_ALLOW_MMAP)
  const first = mount(t, device)
  const reply = first.init()
  t.equal(reply.minor, 31)
  t.equal(reply.flags & asyncDio, 0n)
  await control.ask('init', { on: ['DIRECT_IO_ALLOW_MMAP'] })
  const next = first.init(LINUX_7_3)
  t.equal(next.flags & asyncDio, asyncDio)
  t.equal(next.flags & mmap, mmap, 'though --allow-mmap was not given')
  await control.ask('init')
  t.equal(first.init().flags & mmap, 0n)
  t.match(await control.refusal('init', { on: ['ASYNC_DIOO'] }), /no such INIT flag: 'ASYNC_DIOO'/)
})

t.test('--fault takes words and is in force from the start', async (t) => {
  const { device, control } = await startControlled(t, [
    ...['--fault', 'opcode=GETATTR,errno=EIO,limit=1'],
    ...['--fault', 'opcode=WRITE,path=**/db,hold=2,timeout-ms=20000'],
  ])
  const fs = mount(t, device)
  t.throws(() => fs.getattr(ROOT_ID), { code: 'EIO' })
  const dir = fs.mkdir(ROOT_ID, 'dir').nodeid
  const file = fs.create(dir, 'db', O_RDWR)
  const calls = [startWrite(fs, file, 0)]
  fs.getattr(ROOT_ID)
  t.equal(calls[0]?.reply, undefined)
  calls.push(startWrite(fs, file, 0))
  finishAll(fs, calls)
  t.match(await control.faults(), [{ applied: 1 }, { applied: 2 }])
})

t.test('each kind of effect is logged at most once a second', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  await control.ask('fault-add', { opcodes: ['GETATTR'], errno: 'EIO' })
  t.throws(() => fs.getattr(ROOT_ID))
  const line = await device.waitForLog(({ msg }) => msg === 'fault applied')
  t.match(line, { opcode: 'GETATTR', id: 1, fault: 'opcode=GETATTR,errno=EIO', nodeid: 1 })
})

t.test('malformed faults are refused, and change nothing', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const bad: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /a fault is an object/],
    [[], /a fault is an object/],
    [{}, /a fault needs an effect/],
    [{ opcodes: ['WRITE'] }, /a fault needs an effect/],
    [{ opcodes: [], errno: 'EIO' }, /opcodes is a list of names/],
    [{ opcodes: ['WRTE'], errno: 'EIO' }, /no such opcode: 'WRTE'/],
    [{ opcodes: ['__proto__'], errno: 'EIO' }, /no such opcode/],
    [{ errno: 'EFOO' }, /no such error: 'EFOO'/],
    [{ errno: 'EIO', path: '[' }, /bad glob '\['/],
    [{ errno: 'EIO', path: 7 }, /path is a glob/],
    [{ errno: 'EIO', probability: 2 }, /probability/],
    [{ errno: 'EIO', limit: 0 }, /limit/],
    [{ errno: 'EIO', shortBytes: 1 }, /one of errno, shortBytes and violation/],
    [{ errno: 'EIO', when: 'now' }, /unknown key 'when'/],
    [{ hold: { until: 0, timeoutMs: 1 } }, /hold \(until\)/],
    [{ hold: { until: 2 } }, /timeout of a hold/],
    [{ hold: 2 }, /hold is/],
    [{ delay: { fixedMs: -1 } }, /delay \(ms\) is a number/],
    [{ delay: { uniformMs: [1] } }, /delay \(ms\) is a pair/],
    [{ delay: { sometimes: 1 } }, /unknown delay/],
    [{ delay: { fixedMs: 1 }, hold: { until: 2, timeoutMs: 1 } }, /one of hold and delay/],
    [{ shortBytes: -1 }, /short bytes/],
    [{ violation: 'everything' }, /violation/],
  ]
  for (const [spec, complaint] of bad) t.match(await control.refusal('fault-add', spec), complaint)
  t.same(await control.faults(), [])
  t.ok(fs.getattr(ROOT_ID))
})
