/** --quota-bytes and --quota-inodes: what counts, what is refused, and when room becomes free again. */
import {
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { LimitsReport, QuotaReport } from '../../../src/share/share-limits.js'
import { type ControlClient, startControlled } from '../../support/device/control-client.js'
import type { Storage } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, type Id, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { startWrite } from '../../support/fuse/writers.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDWR = 2
const O_TRUNC = 0o1000
const O_APPEND = 0o2000
const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const RENAME_EXCHANGE = 2
const KIB = 1024
const MIB = 1024 * KIB
/** The room that a file system may need besides the data: maps of blocks, directories. */
const SOME = 64 * KIB

async function quotaOf(control: ControlClient): Promise<QuotaReport> {
  const { quota } = await control.ask<LimitsReport>('limits')
  if (quota === undefined) throw new Error('nothing is counted')
  return quota
}

/** The use of the tree as the host counts it, each inode once. */
function counted(directory: string): { usedBytes: number; usedInodes: number } {
  const inodes = new Map<number, number>()
  const visit = (path: string): void => {
    const { ino, blocks } = lstatSync(path)
    inodes.set(ino, 512 * blocks)
    if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) visit(join(path, name))
  }
  visit(directory)
  return { usedBytes: [...inodes.values()].reduce((sum, bytes) => sum + bytes, 0), usedInodes: inodes.size }
}

/** Compares the device's count with the host's. */
async function agrees(t: Test, control: ControlClient, directory: string, message: string): Promise<void> {
  const { usedBytes, usedInodes } = await quotaOf(control)
  t.same({ usedBytes, usedInodes }, counted(directory), message)
}

const bytes = (count: number) => new Uint8Array(count).fill(0x5a)

/** Writes pieces of 64 KiB until one is refused. Returns how many were not. */
function fill(fs: FuseGuest, { nodeid, handle }: { nodeid: Id; handle: Id }, from = 0): number {
  for (let n = 0; ; n++) {
    try {
      fs.write(nodeid, handle, from + n * 64 * KIB, bytes(64 * KIB))
    } catch (error) {
      if ((error as { code?: string }).code !== 'EDQUOT') throw error
      return n
    }
  }
}

for (const storage of ['memory', 'disk'] as const satisfies readonly Storage[]) {
  t.test(`what the guest does is counted as the host counts it (${storage})`, async (t) => {
    const { device, control } = await startControlled(t, ['--quota-bytes', '1G'], { storage })
    const { directory } = device
    const fs = mount(t, device)
    const check = (message: string) => agrees(t, control, directory, message)
    await check('an empty tree')
    const file = fs.create(ROOT_ID, 'file', O_RDWR)
    await check('create')
    fs.write(file.nodeid, file.handle, 0, bytes(300 * KIB))
    await check('write')
    fs.write(file.nodeid, file.handle, 0, bytes(300 * KIB))
    await check('write over it')
    fs.write(file.nodeid, file.handle, 100 * MIB, bytes(10))
    await check('a sparse file')
    fs.setattr(file.nodeid, { size: 8 * KIB })
    await check('truncate')
    fs.fallocate(file.nodeid, file.handle, 0, 2 * MIB, FALLOC_FL_KEEP_SIZE)
    await check('fallocate behind the end')
    fs.fallocate(file.nodeid, file.handle, 0, MIB, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
    await check('a hole')
    fs.release(file.nodeid, file.handle)
    const dir = fs.mkdir(ROOT_ID, 'dir').nodeid
    for (let n = 0; n < 50; n++) fs.mknod(dir, `a name that is not short ${n}`, 0o100644)
    fs.symlink(ROOT_ID, 'link', 'x'.repeat(200))
    await check('directories, links')
    fs.link(file.nodeid, dir, 'second')
    fs.unlink(ROOT_ID, 'file')
    await check('one of two names is gone')
    const other = fs.create(ROOT_ID, 'other', O_RDWR)
    fs.write(other.nodeid, other.handle, 0, bytes(MIB))
    const to = fs.create(ROOT_ID, 'copy', O_RDWR)
    fs.copyFileRange([other.nodeid, other.handle, 0], [to.nodeid, to.handle, 0], MIB)
    await check('copy_file_range')
    fs.release(other.nodeid, other.handle)
    fs.release(to.nodeid, to.handle)
    fs.rename(ROOT_ID, 'copy', ROOT_ID, 'other')
    fs.forget(other.nodeid, 1)
    await check('rename over a file')
    const emptied = fs.open(to.nodeid, O_RDWR | O_TRUNC)
    await check('O_TRUNC')
    fs.release(to.nodeid, emptied.handle)
    for (let n = 0; n < 50; n++) fs.unlink(dir, `a name that is not short ${n}`)
    fs.unlink(dir, 'second')
    fs.forgetAll()
    fs.rmdir(ROOT_ID, 'dir')
    await check('removed')
  })

  t.test(`bytes are used up: EDQUOT, never beyond, and room that comes back (${storage})`, async (t) => {
    const { device, control } = await startControlled(t, ['--quota-bytes', '4M'], { storage })
    const { directory } = device
    const fs = mount(t, device)
    const file = fs.create(ROOT_ID, 'file', O_RDWR)
    const written = fill(fs, file)
    t.ok(written >= 62 && written <= 64, `${written} pieces of 64 KiB`)
    t.ok(counted(directory).usedBytes <= 4 * MIB, 'not beyond')
    t.equal(fs.write(file.nodeid, file.handle, 0, bytes(64 * KIB)), 64 * KIB, 'data can be written over')
    refused(t, 'EDQUOT', () => fs.write(file.nodeid, file.handle, 0, bytes(64 * KIB), O_APPEND))
    refused(t, 'EDQUOT', () => fs.fallocate(file.nodeid, file.handle, 8 * MIB, MIB))
    fs.fallocate(file.nodeid, file.handle, 0, MIB)
    fs.setattr(file.nodeid, { size: 100 * MIB })
    t.ok(counted(directory).usedBytes <= 4 * MIB)
    fs.setattr(file.nodeid, { size: written * 64 * KIB })
    fs.fallocate(file.nodeid, file.handle, 0, MIB, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
    const other = fs.create(ROOT_ID, 'other', O_RDWR)
    t.ok(fill(fs, other) >= 14, 'a hole gives room')
    fs.unlink(ROOT_ID, 'file')
    t.equal(fill(fs, other, MIB), 0, 'none as long as it is open')
    fs.release(file.nodeid, file.handle)
    fs.forget(file.nodeid, 1)
    t.ok(fill(fs, other, MIB) >= 40, 'the room of a removed file comes back with its last close')
    t.ok(counted(directory).usedBytes <= 4 * MIB)
    await agrees(t, control, directory, 'in the end')
  })
}

t.test('the guest sees its budget in statfs', async (t) => {
  const { device } = await startControlled(t, ['--quota-bytes', '8M', '--quota-inodes', '20'])
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.write(file.nodeid, file.handle, 0, bytes(2 * MIB))
  const { blocks, bfree, bavail, files, ffree, frsize } = fs.statfs()
  const unit = BigInt(frsize)
  t.equal(blocks * unit, BigInt(8 * MIB))
  t.ok(bavail * unit <= 6 * MIB && bavail * unit >= 6 * MIB - SOME, `${bavail * unit}`)
  t.equal(bfree, bavail)
  t.equal(files, 20n)
  t.equal(ffree, 18n, 'the root and the file')
})

t.test('a guest that has used up its inodes gets EDQUOT', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-inodes', '6'])
  const fs = mount(t, device)
  fs.mkdir(ROOT_ID, 'dir')
  fs.symlink(ROOT_ID, 'link', 'target')
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.mknod(ROOT_ID, 'node', 0o100644)
  const nameless = fs.tmpfile(ROOT_ID, O_RDWR)
  for (const make of [
    () => fs.mkdir(ROOT_ID, 'more'),
    () => fs.symlink(ROOT_ID, 'more', 'target'),
    () => fs.create(ROOT_ID, 'more', O_RDWR),
    () => fs.mknod(ROOT_ID, 'more', 0o100644),
    () => fs.tmpfile(ROOT_ID, O_RDWR),
  ])
    refused(t, 'EDQUOT', make)
  fs.link(file.nodeid, ROOT_ID, 'second')
  fs.write(file.nodeid, file.handle, 0, bytes(MIB))
  const again = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.release(file.nodeid, again.handle)
  fs.unlink(ROOT_ID, 'second')
  refused(t, 'EDQUOT', () => fs.mkdir(ROOT_ID, 'more'), 'another name is no inode')
  fs.release(nameless.nodeid, nameless.handle)
  fs.forget(nameless.nodeid, 1)
  fs.mkdir(ROOT_ID, 'more')
  await agrees(t, control, device.directory, 'in the end')
})

t.test('a file that O_TMPFILE made and that gets a name stays', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-bytes', '1G'])
  const fs = mount(t, device)
  const { nodeid, handle } = fs.tmpfile(ROOT_ID, O_RDWR)
  fs.write(nodeid, handle, 0, bytes(MIB))
  fs.link(nodeid, ROOT_ID, 'named')
  fs.release(nodeid, handle)
  fs.forgetAll()
  await agrees(t, control, device.directory, 'named')
})

t.test('files that exist are counted at the start, each inode once; a restart counts the same', async (t) => {
  const directory = tempDir(t)
  mkdirSync(join(directory, 'a/b/c'), { recursive: true })
  writeFileSync(join(directory, 'a/b/c/file'), bytes(3 * MIB))
  linkSync(join(directory, 'a/b/c/file'), join(directory, 'second'))
  symlinkSync('/', join(directory, 'root'))
  writeFileSync(join(directory, 'sparse'), '')
  truncateSync(join(directory, 'sparse'), 1e9)
  const args = ['--quota-bytes', '4M', '--quota-inodes', '100']
  for (const sandbox of ['none', 'namespace'] as const) {
    const { device, control } = await startControlled(t, args, { directory, sandbox })
    await agrees(t, control, directory, `--sandbox ${sandbox}`)
    const fs = mount(t, device)
    const file = fs.create(ROOT_ID, 'file', O_RDWR)
    fill(fs, file)
    t.ok(counted(directory).usedBytes <= 4 * MIB)
    fs.close()
    await device.stop()
  }
  const { device } = await startControlled(t, args, { directory })
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  refused(t, 'EDQUOT', () => fs.write(nodeid, handle, 50 * MIB, bytes(256 * KIB)))
})

t.test('many direct writes at a time do not exceed the quota', async (t) => {
  const { device } = await startControlled(
    t,
    ['--quota-bytes', '4M', '--allow-direct-io', '--cache', 'never'],
    {
      storage: 'disk',
    },
  )
  const fs = mount(t, device)
  fs.roomMayChange = true
  const O_DIRECT = 0o40000
  const file = fs.create(ROOT_ID, 'file', O_RDWR | O_DIRECT)
  const calls: Call[] = []
  for (let n = 0; n < 24; n++)
    calls.push(startWrite(fs, file, n * 256 * KIB, 256 * KIB, { flags: O_RDWR | O_DIRECT }))
  while (calls.some(({ reply }) => reply === undefined)) fs.finish()
  const done = calls.filter(({ reply }) => reply?.error === 0).length
  t.ok(done >= 14 && done <= 16, `${done} of 16 that fit`)
  t.ok(calls.every(({ reply }) => reply?.error === 0 || reply?.error === 122))
  t.ok(counted(device.directory).usedBytes <= 4 * MIB)
})

t.test('a guest that forgets what it has open gains nothing', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-bytes', '4M'])
  const fs = mount(t, device)
  for (let round = 0; round < 4; round++) {
    const file = fs.create(ROOT_ID, `file${round}`, O_RDWR)
    fs.write(file.nodeid, file.handle, 0, bytes(MIB / 2))
    fs.forget(file.nodeid, 1)
    const again = fs.lookup(ROOT_ID, `file${round}`)
    fs.write(file.nodeid, file.handle, MIB, bytes(MIB / 4))
    fs.setattr(again.nodeid, { size: 0 })
    fs.unlink(ROOT_ID, `file${round}`)
    fs.forget(again.nodeid, 1)
    fs.write(file.nodeid, file.handle, 0, bytes(MIB / 2))
    t.ok((await quotaOf(control)).usedBytes >= MIB / 2, 'still open, still there')
    fs.release(file.nodeid, file.handle)
    await agrees(t, control, device.directory, `round ${round}`)
  }
  const file = fs.create(ROOT_ID, 'held', O_RDWR)
  fs.unlink(ROOT_ID, 'held')
  fs.write(file.nodeid, file.handle, 0, bytes(MIB))
  fs.close()
  const other = mount(t, device)
  other.getattr(ROOT_ID)
  await agrees(t, control, device.directory, 'a session that ends lets go of everything')
})

t.test('requests in flight when a session ends are counted', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-bytes', '8M'], { storage: 'disk' })
  for (let round = 0; round < 3; round++) {
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, `file${round}`, O_RDWR)
    const args = concat(u64(handle, 0, 6 * MIB), u32(0, 0))
    const call = fs.start({ opcode: Op.FALLOCATE, nodeid, args, reply: { argBytes: 0 } })
    fs.start({ opcode: Op.DESTROY, nodeid: 0, reply: { argBytes: 0 } })
    while (call.reply === undefined) fs.finish()
    await agrees(t, control, device.directory, `round ${round}`)
    fs.close()
  }
  t.ok(counted(device.directory).usedBytes <= 8 * MIB)
})

t.test('directories do not grow without end by renames (disk)', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-bytes', '1M'], { storage: 'disk' })
  const fs = mount(t, device)
  const dir = fs.mkdir(ROOT_ID, 'dir').nodeid
  const NAMES = 2000
  for (let n = 0; n < NAMES; n++) fs.forget(fs.mknod(dir, `${n}`, 0o100644).nodeid, 1)
  fill(fs, fs.create(ROOT_ID, 'file', O_RDWR))
  let renamed = 0
  for (let n = 0; n < NAMES; n++) {
    try {
      fs.rename(dir, `${n}`, dir, `${n}${'y'.repeat(240)}`)
      renamed++
    } catch (error) {
      t.equal((error as { code?: string }).code, 'EDQUOT')
      break
    }
  }
  t.ok(renamed > 200 && renamed < NAMES, `${renamed} renamed`)
  t.ok(counted(device.directory).usedBytes <= MIB + 256 * KIB + SOME)
  fs.rename(dir, `${NAMES - 1}`, dir, `${NAMES - 2}`)
  await agrees(t, control, device.directory, 'over another name, as ever')
  fs.setattr(fs.lookup(ROOT_ID, 'file').nodeid, { size: 0 })
  fs.rename(dir, `${NAMES - 2}`, dir, `${NAMES - 2}${'y'.repeat(240)}`)
  await agrees(t, control, device.directory, 'with room again')
})

t.test('an exchange, and a rename to another name of the same file, keep the count', async (t) => {
  const { device, control } = await startControlled(t, ['--quota-bytes', '1G'])
  const fs = mount(t, device)
  for (const name of ['a', 'b']) {
    const file = fs.create(ROOT_ID, name, O_RDWR)
    fs.write(file.nodeid, file.handle, 0, bytes(MIB))
    fs.release(file.nodeid, file.handle)
  }
  const args = concat(u64(ROOT_ID), u32(RENAME_EXCHANGE, 0), new TextEncoder().encode('a\0b\0'))
  fs.succeed({ opcode: Op.RENAME2, nodeid: ROOT_ID, args, reply: { argBytes: 0 } })
  await agrees(t, control, device.directory, 'exchange')
  fs.link(fs.lookup(ROOT_ID, 'a').nodeid, ROOT_ID, 'same')
  fs.rename(ROOT_ID, 'a', ROOT_ID, 'same')
  fs.forgetAll()
  await agrees(t, control, device.directory, 'the same file')
})

t.test('a recount sees changes of the host; limits change while the share is served', async (t) => {
  const { device, control, controlPath } = await startControlled(t, ['--quota-bytes', '1M'])
  const fs = mount(t, device)
  writeFileSync(join(device.directory, 'of the host'), bytes(2 * MIB))
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.write(file.nodeid, file.handle, 0, bytes(64 * KIB))
  const ctl = (...args: readonly string[]) => runProgram(['ctl', '--control-socket', controlPath, ...args])
  t.match(JSON.parse(ctl('limits', 'recount=yes').stdout), { quota: counted(device.directory) })
  refused(t, 'EDQUOT', () => fs.write(file.nodeid, file.handle, MIB, bytes(64 * KIB)))
  t.match(JSON.parse(ctl('limits', 'quota-bytes=3M,quota-inodes=none').stdout), {
    quota: { bytes: 3 * MIB, inodes: 'none' },
  })
  fs.write(file.nodeid, file.handle, MIB, bytes(64 * KIB))
  rmSync(join(device.directory, 'of the host'))
  await control.ask('limits', { recount: true })
  await agrees(t, control, device.directory, 'recounted')
  t.match(ctl('limits', 'quota-bytes=0'), { status: 2, stderr: /quota-bytes: '0' is not a number of bytes/ })
  t.match(ctl('limits', 'quota-inodes=x'), {
    status: 2,
    stderr: /quota-inodes: 'x' is not a number of files/,
  })
})

t.test('a quota for a share that does not count, and malformed values, are refused', async (t) => {
  const { control } = await startControlled(t)
  t.match(await control.refusal('limits', { 'quota-bytes': '1G' }), /does not count what it holds/)
  const start = (...args: readonly string[]) =>
    runProgram(['--shared-dir', tempDir(t), '--socket-path', `${tempDir(t)}/s`, ...args])
  t.match(start('--quota-bytes', 'much'), {
    status: 2,
    stderr: /--quota-bytes: 'much' is not a number of bytes/,
  })
  t.match(start('--quota-inodes', '-1'), {
    status: 2,
    stderr: /--quota-inodes: '-1' is not a number of files/,
  })
})
