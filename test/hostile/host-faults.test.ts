/** Changes on the host under a guest: the share fills up, fails, becomes read-only, changes, and is used by others. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device, sleep } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { errorOf, refused } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const O_RDONLY = 0
const O_RDWR = 2
const KIB = 1024
const MIB = 1024 * KIB
const SEED = 7

const patternOf = (lenBytes: number) => pattern(lenBytes, SEED)

const device = await Device.start(t, ['--keep-alive', '--allow-direct-io'])
const heldBefore = device.fdCount()
const rootOnly = isRoot ? {} : { skip: 'needs root: mounts' }

/**
 * Mounts something below the share until the test ends. Returns its path, or the reason why this is not possible here.
 */
function mountBelow(t: Test, name: string, args: readonly string[]): { path: string } | { reason: string } {
  const path = join(device.directory, name)
  mkdirSync(path)
  const { status, stderr } = spawnSync('mount', [...args, path], { encoding: 'utf8' })
  if (status !== 0) {
    rmSync(path, { recursive: true })
    return { reason: stderr.trim().split('\n')[0] ?? 'no mount' }
  }
  t.teardown(() => {
    execFileSync('umount', ['--lazy', path])
    rmSync(path, { recursive: true })
  })
  return { path }
}

/** An ext4 mounted below the share, on a disk that turns out to have a third of its blocks. */
function mountThinDisk(t: Test, name: string) {
  const store = mkdtempSync(join(tmpdir(), 'vfs-disk-'))
  const image = join(store, 'image')
  t.teardown(() => {
    spawnSync('umount', ['--lazy', store])
    rmSync(store, { recursive: true, force: true })
  })
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${8 * MIB}`, name, store])
  writeFileSync(image, '')
  truncateSync(image, 24 * MIB)
  const made = spawnSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', image])
  if (made.status !== 0) return { reason: 'no mkfs.ext4 (e2fsprogs)', image }
  return { ...mountBelow(t, name, ['-o', 'loop,errors=continue', image]), image }
}

/**
 * A btrfs below the share with a subvolume, "limited", that has a quota of so many bytes. Every kernel with btrfs
 * supports it.
 */
function mountWithQuota(t: Test, name: string, limitBytes: number) {
  const store = mkdtempSync(join(tmpdir(), 'vfs-quota-'))
  const image = join(store, 'image')
  t.teardown(() => rmSync(store, { recursive: true, force: true }))
  writeFileSync(image, '')
  truncateSync(image, 256 * MIB)
  if (spawnSync('mkfs.btrfs', ['--quiet', image]).status !== 0)
    return { reason: 'no mkfs.btrfs (btrfs-progs)' }
  const mounted = mountBelow(t, name, ['-o', 'loop', image])
  if ('reason' in mounted) return mounted
  const limited = join(mounted.path, 'limited')
  execFileSync('btrfs', ['quota', 'enable', mounted.path])
  execFileSync('btrfs', ['subvolume', 'create', limited], { stdio: 'ignore' })
  execFileSync('btrfs', ['qgroup', 'limit', `${limitBytes}`, limited])
  return mounted
}

function write(fs: FuseGuest, nodeid: bigint, handle: bigint, at: number, data: Uint8Array): string {
  return errorOf(() => fs.write(nodeid, handle, at, data))
}

t.test(
  'ENOSPC: no byte and no file more, what is there stays, and room that is made is used',
  rootOnly,
  async (t) => {
    const small = mountBelow(t, 'small', ['-t', 'tmpfs', '-o', `size=${MIB},nr_inodes=8`, 'small'])
    if ('reason' in small) {
      t.pass('', { skip: small.reason })
      return
    }
    const fs = mount(t, device)
    const top = fs.lookup(ROOT_ID, 'small').nodeid
    const { nodeid, handle } = fs.create(top, 'file', O_RDWR)
    const block = patternOf(64 * KIB)
    let at = 0
    for (; write(fs, nodeid, handle, at, block) === 'no error'; at += block.length);
    t.ok(at >= MIB / 2)
    refused(t, 'ENOSPC', () => fs.write(nodeid, handle, 2 * MIB, block))
    refused(t, 'ENOSPC', () => fs.fallocate(nodeid, handle, 0, 4 * MIB))
    refused(t, 'ENOSPC', () => {
      for (let n = 0; n < 10; n++) fs.create(top, `more-${n}`, O_RDWR)
    })
    t.same(fs.read(nodeid, handle, 0, block.length), block)
    fs.setattr(nodeid, { size: 0, handle })
    t.equal(fs.write(nodeid, handle, 0, block), block.length)
    fs.fsync(nodeid, handle)
    fs.close()
    await device.waitForFdCount(heldBefore)
  },
)

t.test('after EDQUOT existing data stays, and writes go on once the limit is raised', rootOnly, async (t) => {
  const quota = mountWithQuota(t, 'quota', 4 * MIB)
  if ('reason' in quota) {
    t.pass('', { skip: quota.reason })
    return
  }
  const fs = mount(t, device)
  const top = fs.lookup(fs.lookup(ROOT_ID, 'quota').nodeid, 'limited').nodeid
  const { nodeid, handle } = fs.create(top, 'file', O_RDWR)
  const block = patternOf(64 * KIB)
  let at = 0
  let error = 'no error'
  for (; error === 'no error' && at < 8 * MIB; at += block.length)
    error = write(fs, nodeid, handle, at, block)
  t.equal(error, 'EDQUOT')
  t.ok(at >= 3 * MIB)
  refused(t, 'EDQUOT', () => fs.fallocate(nodeid, handle, 8 * MIB, 8 * MIB))
  t.same(fs.read(nodeid, handle, 0, block.length), block)
  execFileSync('btrfs', ['qgroup', 'limit', 'none', join(quota.path, 'limited')])
  t.equal(fs.write(nodeid, handle, 8 * MIB, block), block.length)
  fs.close()
  await device.waitForFdCount(heldBefore)
})

t.test(
  'EIO: a disk that has lost its blocks fails reads and fsync, and nothing else',
  rootOnly,
  async (t) => {
    const lost = mountThinDisk(t, 'lost')
    if ('reason' in lost) {
      t.pass('', { skip: lost.reason })
      return
    }
    const { path, image } = lost
    writeFileSync(join(path, 'file'), patternOf(2 * MIB))
    execFileSync('sync', ['-f', path])
    const fs = mount(t, device)
    const top = fs.lookup(ROOT_ID, 'lost').nodeid
    const { nodeid } = fs.lookup(top, 'file')
    const { handle } = fs.open(nodeid, O_RDWR)
    const other = fs.create(top, 'other', O_RDWR)
    for (let n = 0; n < 12; n++) fs.write(other.nodeid, other.handle, n * MIB, patternOf(MIB))
    const error = errorOf(() => fs.fsync(other.nodeid, other.handle))
    t.ok(error === 'EIO' || error === 'ENOSPC', `fsync does not say that it is on the disk: ${error}`)
    fs.release(other.nodeid, other.handle)
    truncateSync(image, MIB)
    writeFileSync('/proc/sys/vm/drop_caches', '1')
    refused(t, 'EIO', () => {
      for (let at = 0; at < 2 * MIB; at += 64 * KIB) fs.read(nodeid, handle, at, 64 * KIB)
    })
    t.equal(fs.getattr(ROOT_ID).attr.mode & 0o170000, 0o040000, 'the share itself goes on')
    fs.close()
    await device.waitForFdCount(heldBefore)
  },
)

t.test('a share that becomes read-only: EROFS, and reading goes on', rootOnly, async (t) => {
  const turned = mountBelow(t, 'turned', ['-t', 'tmpfs', 'turned'])
  if ('reason' in turned) {
    t.pass('', { skip: turned.reason })
    return
  }
  writeFileSync(join(turned.path, 'file'), 'text')
  const fs = mount(t, device)
  const top = fs.lookup(ROOT_ID, 'turned').nodeid
  const { nodeid } = fs.lookup(top, 'file')
  const { handle } = fs.open(nodeid, O_RDONLY)
  execFileSync('mount', ['-o', 'remount,ro', turned.path])
  for (const attempt of [
    () => fs.open(nodeid, O_RDWR),
    () => fs.create(top, 'new', O_RDWR),
    () => fs.mkdir(top, 'new'),
    () => fs.unlink(top, 'file'),
    () => fs.rename(top, 'file', top, 'other'),
    () => fs.setattr(nodeid, { mode: 0o600 }),
    () => fs.setattr(nodeid, { size: 0 }),
    () => fs.link(nodeid, top, 'link'),
  ])
    refused(t, 'EROFS', attempt, attempt.toString())
  t.equal(Buffer.from(fs.read(nodeid, handle, 0, 10)).toString(), 'text')
  execFileSync('mount', ['-o', 'remount,rw', turned.path])
  fs.unlink(top, 'file')
  fs.close()
  await device.waitForFdCount(heldBefore)
})

t.test('files that the host changes, cuts, renames, replaces and deletes under the guest', async (t) => {
  const path = (name: string) => join(device.directory, name)
  writeFileSync(path('file'), 'one')
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  const text = () => Buffer.from(fs.read(nodeid, handle, 0, 100)).toString()

  appendFileSync(path('file'), ' two')
  t.same([text(), fs.getattr(nodeid).attr.size], ['one two', 7n], 'changed')
  truncateSync(path('file'), 2)
  t.same([text(), fs.getattr(nodeid).attr.size], ['on', 2n], 'cut')
  renameSync(path('file'), path('renamed'))
  refused(t, 'ENOENT', () => fs.lookup(ROOT_ID, 'file'))
  t.equal(fs.lookup(ROOT_ID, 'renamed').nodeid, nodeid, 'renamed: the same inode')
  fs.write(nodeid, handle, 0, Buffer.from('by guest'))
  t.equal(readFileSync(path('renamed'), 'utf8'), 'by guest')
  writeFileSync(path('other'), 'replaced')
  renameSync(path('other'), path('renamed'))
  t.not(fs.lookup(ROOT_ID, 'renamed').nodeid, nodeid, 'replaced: another inode')
  t.same([text(), fs.getattr(nodeid).attr.nlink], ['by guest', 0], 'deleted, but open')
  fs.setattr(nodeid, { size: 2 })
  t.equal(text(), 'by')
  fs.fsync(nodeid, handle)
  fs.release(nodeid, handle)
  unlinkSync(path('renamed'))

  mkdirSync(path('dir'))
  const dir = fs.lookup(ROOT_ID, 'dir').nodeid
  rmSync(path('dir'), { recursive: true })
  refused(t, 'ESTALE', () => fs.create(dir, 'new', O_RDWR))
  writeFileSync(path('dir'), 'now a file')
  t.equal(fs.lookup(ROOT_ID, 'dir').attr.mode & 0o170000, 0o100000)
  unlinkSync(path('dir'))
  fs.close()
  t.same(readdirSync(device.directory), [])
  await device.waitForFdCount(heldBefore)
})

/** Returns true if every thread has taken the signal, which each does for itself. */
function isStopped(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.every((tid) => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8')))
}

t.test('a device that is stopped and continued loses no request', async (t) => {
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  process.kill(device.pid, 'SIGSTOP')
  while (!isStopped(device.pid)) await sleep(1)
  const call = fs.start({ opcode: Op.STATFS, nodeid: ROOT_ID, reply: { argBytes: 80 } })
  t.equal(fs.frontend.queues[1].reap(200), undefined, 'it stands still')
  process.kill(device.pid, 'SIGCONT')
  fs.finish()
  t.equal(call.reply?.error, 0)
  t.equal(fs.write(nodeid, handle, 0, patternOf(MIB)), MIB)
  t.equal(statSync(join(device.directory, 'file')).size, MIB)
  fs.unlink(ROOT_ID, 'file')
  fs.close()
})

t.test('without address space more memory is refused, and running queues go on', async (t) => {
  const fs = mount(t, device)
  const status = readFileSync(`/proc/${device.pid}/status`, 'utf8')
  const sizeBytes = Number(/VmSize:\s+(\d+)/.exec(status)?.[1]) * KIB
  execFileSync('prlimit', ['--pid', `${device.pid}`, `--as=${sizeBytes + 256 * MIB}:`])
  t.throws(() => fs.frontend.addRegion(1024 * MIB), { code: 'BAD_REQUEST' })
  t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
  execFileSync('prlimit', ['--pid', `${device.pid}`, '--as=unlimited:'])
  fs.frontend.addRegion(1024 * MIB)
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
