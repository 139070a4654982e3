/** A guest that moves from one device to another, which serve the same directory. */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadState, saveState } from 'vhost-user-ts/frontend'
import { Device } from '../../support/device/device.js'
import { until } from '../../support/device/live-device.js'
import { migrate, resume, suspend } from '../../support/device/migrate.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, setlk } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'
import { Random } from '../../support/random.js'
import { comesTo, shareDescriptors } from '../../support/share-descriptors.js'

const O_RDWR = 2
const KEEP = ['--keep-alive']
const OWNER = 77n
const OTHER = 78n

/** Two devices of the same directory; the first is the guest's. */
async function pair(
  t: Test,
  options: readonly string[] = [],
  there: readonly string[] = options,
): Promise<{ fs: FuseGuest; from: Device; to: Device }> {
  const from = await Device.start(t, [...options, ...KEEP])
  const to = await Device.start(t, [...there, ...KEEP], { directory: from.directory })
  return { fs: mount(t, from), from, to }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
const bytesOf = (string: string) => new TextEncoder().encode(string)
/** Waits until a device has logged that it refused a state for this reason. */
const hasRefused = (device: Device, why: RegExp) =>
  device.waitForLog(({ msg, reason = '' }) => msg === 'device state not transferred' && why.test(reason))

/** Waits until the host knows so many locks on a file. */
async function hostLocks(directory: string, name: string, count: number): Promise<void> {
  const { ino } = statSync(join(directory, name))
  const held = () =>
    readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`:${ino} `)).length
  await until(
    () => held() === count,
    () => `${held()} locks instead of ${count}`,
  )
}

t.test('inodes, open files and directories move there and back', async (t) => {
  const { fs, from, to } = await pair(t)
  const name = Buffer.from([0x66, 0xff, 0xfe, 0x0a])
  mkdirSync(join(from.directory, 'sub'))
  writeFileSync(join(from.directory, 'sub', 'a (deleted)'), 'not deleted')
  for (let n = 0; n < 50; n++) writeFileSync(join(from.directory, `file-${n}`), `${n}`)
  writeFileSync(Buffer.concat([Buffer.from(`${from.directory}/`), name]), 'bytes')
  const sub = fs.lookup(ROOT_ID, 'sub').nodeid
  const odd = fs.lookup(ROOT_ID, Uint8Array.from(name)).nodeid
  const deleted = fs.lookup(sub, 'a (deleted)').nodeid
  const file = fs.create(sub, 'file', O_RDWR)
  const gone = fs.create(sub, 'released', O_RDWR)
  fs.release(gone.nodeid, gone.handle)
  fs.forget(gone.nodeid, 1n)
  fs.write(file.nodeid, file.handle, 0n, bytesOf('before'))
  const directory = fs.opendir(ROOT_ID)
  const first = fs.readdir(ROOT_ID, directory.handle, 0n, 512)
  const held = shareDescriptors(to)

  for (const device of [to, from, to]) {
    renameSync(join(from.directory, 'sub'), join(from.directory, 'renamed'))
    migrate(fs, device)
    renameSync(join(from.directory, 'renamed'), join(from.directory, 'sub'))
    t.equal(text(fs.read(file.nodeid, file.handle, 0n, 100)), 'before')
    t.equal(fs.write(file.nodeid, file.handle, 6n, bytesOf(', after')), 7)
    t.equal(readFileSync(join(from.directory, 'sub', 'file'), 'utf8'), 'before, after')
    fs.setattr(file.nodeid, { size: 6 })
    t.equal(fs.lookup(ROOT_ID, 'sub').nodeid, sub, 'a lookup finds the inode that the guest has')
    t.equal(fs.lookup(sub, 'file').nodeid, file.nodeid)
    t.equal(fs.getattr(odd).attr.size, 5n)
    t.equal(fs.getattr(deleted).attr.size, 11n)
    const fresh = fs.create(sub, 'new', O_RDWR)
    t.not(fresh.nodeid, gone.nodeid, 'no node id is used twice')
    t.not(fresh.handle, gone.handle, 'no handle is used twice')
    fs.release(fresh.nodeid, fresh.handle)
    fs.unlink(sub, 'new')
    fs.forget(fresh.nodeid, 1n)
  }
  const rest: string[] = []
  for (let at = first.at(-1)?.off ?? 0n; ; ) {
    const more = fs.readdir(ROOT_ID, directory.handle, at, 512)
    if (more.length === 0) break
    rest.push(...more.map((entry) => entry.name))
    at = more.at(-1)?.off ?? 0n
  }
  const names = [...first.map((entry) => entry.name), ...rest].filter((each) => each.startsWith('file-'))
  t.equal(new Set(names).size, 50)
  t.equal(names.length, 50, 'the listing goes on where it was')
  fs.releasedir(ROOT_ID, directory.handle)
  fs.release(file.nodeid, file.handle)
  fs.forgetAll()
  await comesTo(from, held)
  fs.close()
  await comesTo(to, held)
  t.pass('no descriptor is left over on either side')
})

for (const mode of ['find-paths', 'file-handles']) {
  t.test(`confined devices move a guest, too: ${mode}`, async (t) => {
    const options = ['--migration-mode', mode, '--seccomp', 'kill', ...KEEP]
    const from = await Device.start(t, options, { sandbox: 'namespace' })
    const to = await Device.start(t, options, { sandbox: 'namespace', directory: from.directory })
    const fs = mount(t, from)
    mkdirSync(join(from.directory, 'sub'))
    const sub = fs.lookup(ROOT_ID, 'sub').nodeid
    const file = fs.create(sub, 'file', O_RDWR)
    fs.write(file.nodeid, file.handle, 0n, bytesOf('confined'))
    const listing = fs.opendir(sub)
    const isRoot = process.geteuid?.() === 0
    if (!isRoot && mode === 'file-handles') {
      t.pass('by file handle', { skip: 'needs root: CAP_DAC_READ_SEARCH' })
      return
    }
    for (const device of [to, from]) {
      migrate(fs, device)
      t.equal(text(fs.read(file.nodeid, file.handle, 0n, 100)), 'confined')
      t.equal(fs.readdir(sub, listing.handle, 0n).length, 3)
      t.equal(fs.lookup(sub, 'file').nodeid, file.nodeid)
    }
  })
}

t.test('a guest that has not mounted moves, and a migration that is given up changes nothing', async (t) => {
  const { fs, to, from } = await pair(t)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const bases = suspend(fs)
  saveState(fs.frontend)
  resume(fs, bases)
  t.equal(fs.write(file.nodeid, file.handle, 0n, bytesOf('on')), 2)
  migrate(fs, to)
  fs.destroy()
  migrate(fs, from)
  fs.init()
  t.equal(fs.lookup(ROOT_ID, 'file').attr.size, 2n)
})

for (const threads of ['1', '2'])
  t.test(
    `the destination takes the locks as soon as the source releases them: --queue-threads ${threads}`,
    async (t) => {
      const { fs, from, to } = await pair(t, ['--posix-lock', '--flock', '--queue-threads', threads])
      const third = await Device.start(t, ['--posix-lock', '--flock'], { directory: from.directory })
      const outside = mount(t, third)
      const file = fs.create(ROOT_ID, 'file', O_RDWR)
      const second = fs.open(file.nodeid, O_RDWR)
      const whole = fs.create(ROOT_ID, 'whole', O_RDWR)
      setlk(fs, file.nodeid, file.handle, { owner: OWNER, type: F_WRLCK, start: 10, last: 19 })
      setlk(fs, file.nodeid, second.handle, { owner: OTHER, type: F_RDLCK, start: 100 })
      setlk(fs, whole.nodeid, whole.handle, { owner: OWNER, type: F_WRLCK, flock: true })
      const theirs = outside.lookup(ROOT_ID, 'file')
      const theirWhole = outside.lookup(ROOT_ID, 'whole')
      const theirHandle = outside.open(theirs.nodeid, O_RDWR).handle
      const theirWholeHandle = outside.open(theirWhole.nodeid, O_RDWR).handle
      const wanted = { owner: OTHER, type: F_WRLCK, start: 0, last: 10 }

      const free = shareDescriptors(to)
      for (const [source, destination] of [
        [from, to],
        [to, from],
      ] as const) {
        migrate(fs, destination)
        await comesTo(source, free)
        await hostLocks(from.directory, 'file', 2)
        await hostLocks(from.directory, 'whole', 1)
        refused(t, 'EAGAIN', () => setlk(outside, theirs.nodeid, theirHandle, wanted))
        refused(t, 'EAGAIN', () =>
          setlk(outside, theirs.nodeid, theirHandle, { ...wanted, start: 150, last: 160 }),
        )
        refused(t, 'EAGAIN', () =>
          setlk(outside, theirWhole.nodeid, theirWholeHandle, { owner: OTHER, type: F_RDLCK, flock: true }),
        )
        refused(
          t,
          'EAGAIN',
          () => setlk(fs, file.nodeid, second.handle, wanted),
          'owners in the guest are told apart',
        )
        setlk(fs, file.nodeid, file.handle, { owner: OWNER, type: F_WRLCK, start: 10, last: 19 })
      }
      setlk(fs, file.nodeid, file.handle, { owner: OWNER, type: F_UNLCK })
      setlk(outside, theirs.nodeid, theirHandle, wanted)
      fs.release(whole.nodeid, whole.handle)
      setlk(outside, theirWhole.nodeid, theirWholeHandle, { owner: OTHER, type: F_RDLCK, flock: true })
    },
  )

t.test('another file in the place of one is never used instead', async (t) => {
  const { fs, from, to } = await pair(t)
  const path = join(from.directory, 'file')
  writeFileSync(path, 'first')
  const file = fs.lookup(ROOT_ID, 'file')
  fs.open(file.nodeid, O_RDWR)
  const replace = () => {
    writeFileSync(`${path}.new`, 'other')
    renameSync(`${path}.new`, path)
  }
  t.throws(() => migrate(fs, to, replace), { code: 'BAD_REQUEST' })
  await hasRefused(to, /^inodes with another file at their paths: \/file/)

  const lenient = await Device.start(t, ['--migration-on-error', 'guest-error', ...KEEP], {
    directory: from.directory,
  })
  const again = mount(t, from)
  const kept = again.lookup(ROOT_ID, 'file')
  const keptHandle = again.open(kept.nodeid, O_RDWR).handle
  migrate(again, lenient, replace)
  refused(t, 'ESTALE', () => again.getattr(kept.nodeid))
  refused(t, 'EBADF', () => again.read(kept.nodeid, keptHandle, 0n, 10))
  t.not(again.lookup(ROOT_ID, 'file').nodeid, kept.nodeid, 'the other file is another inode')
  await lenient.waitForLog(({ msg }) => msg === 'migration lost inodes with another file at their paths')
  // An inode that was lost before does not fail the next migration.
  migrate(again, from)
  refused(t, 'ESTALE', () => again.getattr(kept.nodeid))
})

t.test('without verification a path is enough, and the type must be right', async (t) => {
  const { fs, from, to } = await pair(t, ['--no-migration-verify-handles'])
  const path = join(from.directory, 'file')
  writeFileSync(path, 'first')
  const file = fs.lookup(ROOT_ID, 'file')
  migrate(fs, to, () => {
    writeFileSync(`${path}.new`, 'a copy')
    renameSync(`${path}.new`, path)
  })
  t.equal(fs.getattr(file.nodeid).attr.size, 6n)
  t.throws(
    () =>
      migrate(fs, from, () => {
        rmSync(path)
        mkdirSync(path)
      }),
    { code: 'BAD_REQUEST' },
  )
})

t.test('open files without a name move by file handle, or fail the migration', async (t) => {
  const { fs, to, from } = await pair(t)
  const cached = fs.create(ROOT_ID, 'cached', O_RDWR)
  fs.release(cached.nodeid, cached.handle)
  fs.unlink(ROOT_ID, 'cached')
  migrate(fs, to)
  t.pass('an inode that only the guest’s cache knows is no reason to fail')
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.write(file.nodeid, file.handle, 0n, bytesOf('still there'))
  fs.unlink(ROOT_ID, 'file')
  t.throws(() => migrate(fs, from), { code: 'BAD_REQUEST' })
  await hasRefused(from, /^inodes without a name/)

  if (process.geteuid?.() !== 0) {
    t.pass('by file handle', { skip: 'needs root: CAP_DAC_READ_SEARCH' })
    return
  }
  const byHandle = await pair(t, ['--migration-mode', 'file-handles'])
  const open = byHandle.fs.create(ROOT_ID, 'file', O_RDWR)
  byHandle.fs.write(open.nodeid, open.handle, 0n, bytesOf('still there'))
  byHandle.fs.unlink(ROOT_ID, 'file')
  migrate(byHandle.fs, byHandle.to)
  t.equal(text(byHandle.fs.read(open.nodeid, open.handle, 0n, 100)), 'still there')
})

t.test('a hard link whose name is gone is found by its other name', async (t) => {
  const { fs, from, to } = await pair(t)
  mkdirSync(join(from.directory, 'deep'))
  const deep = fs.lookup(ROOT_ID, 'deep').nodeid
  const file = fs.create(ROOT_ID, 'one', O_RDWR)
  fs.link(file.nodeid, deep, 'two')
  fs.unlink(ROOT_ID, 'one')
  migrate(fs, to)
  t.equal(fs.write(file.nodeid, file.handle, 0n, bytesOf('found')), 5)
  t.equal(readFileSync(join(from.directory, 'deep', 'two'), 'utf8'), 'found')
})

t.test('options that the guest relies on must be the same; caching may differ', async (t) => {
  const { fs, from } = await pair(t, ['--cache', 'never'])
  const other = async (...options: string[]) =>
    await Device.start(t, [...options, ...KEEP], { directory: from.directory })
  const cached = await other('--cache', 'always')
  fs.create(ROOT_ID, 'file', O_RDWR)
  migrate(fs, cached)
  await cached.waitForLog(({ msg }) => msg.startsWith('the source had other caching options'))
  const strict = await other('--cache', 'always', '--writeback')
  t.throws(() => migrate(fs, strict), { code: 'BAD_REQUEST' })
  await hasRefused(strict, /^--writeback was false at the source and is true here: give both the same$/)
})

t.test('--export must be the same on both sides, and is called by its name', async (t) => {
  const { fs, from } = await pair(t)
  const strict = await Device.start(t, ['--export', ...KEEP], { directory: from.directory })
  t.throws(() => migrate(fs, strict), { code: 'BAD_REQUEST' })
  await hasRefused(strict, /^--export was false at the source and is true here: give both the same$/)
})

t.test('a state that is cut or changed is refused in one line, and the device goes on', async (t) => {
  const { fs, from, to } = await pair(t)
  for (let n = 0; n < 20; n++) {
    writeFileSync(join(from.directory, `file-${n}`), '')
    fs.open(fs.lookup(ROOT_ID, `file-${n}`).nodeid, O_RDWR)
  }
  const bases = suspend(fs)
  const state = saveState(fs.frontend)
  const before = fs.frontend.moveTo(to.socketPath)
  const random = new Random(2026)
  const loads = (bytes: Uint8Array) => {
    try {
      loadState(fs.frontend, bytes)
      return true
    } catch {
      return false
    }
  }
  for (let n = 0; n < 60; n++) {
    const cut = random.below(state.length)
    if (loads(state.slice(0, cut))) t.fail(`cut at ${cut}`)
    const changed = state.slice()
    const at = random.below(state.length)
    changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8))
    if (loads(changed)) t.fail(`bit flipped in byte ${at} of ${state.length}`)
  }
  t.equal(loads(Uint8Array.from([...state, 0])), false, 'bytes behind the end')
  t.equal(loads(state), true, 'the true one is taken after all')
  resume(fs, bases)
  t.equal(fs.lookup(ROOT_ID, 'file-3').attr.size, 0n)
  await hasRefused(to, /damaged|too early/)
  before.close()
})
