/** --readonly: nothing can be changed through the share, and everything can be read. */
import { constants, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

const { O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const R_OK = 4
const W_OK = 2

const device = await Device.start(t, ['--readonly', '--keep-alive'])
const path = device.directory
writeFileSync(`${path}/file`, 'text')
symlinkSync('file', `${path}/link`)
const before = statSync(`${path}/file`, { bigint: true })
const fs = mount(t, device)
const file = fs.lookup(ROOT_ID, 'file').nodeid

t.test('every operation that changes something gets EROFS and changes nothing', async (t) => {
  const { handle } = fs.open(file, O_RDONLY)
  const data = Uint8Array.of(1)
  for (const attempt of [
    () => fs.setattr(file, { mode: 0o777 }),
    () => fs.setattr(file, { size: 0 }),
    () => fs.setattr(file, { uid: 1, gid: 1 }),
    () => fs.setattr(file, { mtimeNs: 'now' }),
    () => fs.setattr(file, {}),
    () => fs.symlink(ROOT_ID, 'x', 'y'),
    () => fs.mknod(ROOT_ID, 'x', 0o100644),
    () => fs.mkdir(ROOT_ID, 'x'),
    () => fs.unlink(ROOT_ID, 'file'),
    () => fs.rmdir(ROOT_ID, 'x'),
    () => fs.rename(ROOT_ID, 'file', ROOT_ID, 'x'),
    () => fs.rename2(ROOT_ID, 'file', ROOT_ID, 'x', 0),
    () => fs.link(file, ROOT_ID, 'x'),
    () => fs.write(file, handle, 0, data),
    () => fs.create(ROOT_ID, 'x', O_RDWR),
    () => fs.create(ROOT_ID, 'file', O_RDONLY),
    () => fs.fallocate(file, handle, 0, 1),
    () => fs.copyFileRange([file, handle, 0], [file, handle, 10], 1),
    () => fs.open(file, O_WRONLY),
    () => fs.open(file, O_RDWR),
    () => fs.open(file, O_RDONLY | O_TRUNC),
    () => fs.open(file, O_WRONLY | O_APPEND),
    () => fs.open(file, 3),
    () => fs.access(file, W_OK),
    () => fs.access(file, R_OK | W_OK),
  ])
    refused(t, 'EROFS', attempt, attempt.toString())
  fs.release(file, handle)
  const after = statSync(`${path}/file`, { bigint: true })
  t.same({ ...after, atimeNs: 0, atime: 0, atimeMs: 0 }, { ...before, atimeNs: 0, atime: 0, atimeMs: 0 })
  t.equal(readFileSync(`${path}/file`, 'utf8'), 'text')
  t.same(readdirSync(path).sort(), ['file', 'link'])
})

t.test('a bad name gets its own error, not EROFS', async (t) => {
  refused(t, 'EINVAL', () => fs.mkdir(ROOT_ID, '..'))
})

t.test('everything that reads works', async (t) => {
  const { handle } = fs.open(file, O_RDONLY | O_CREAT)
  t.equal(Buffer.from(fs.read(file, handle, 0, 10)).toString(), 'text')
  t.equal(fs.getattr(file).attr.size, 4n)
  fs.access(file, R_OK)
  fs.flush(file, handle)
  fs.fsync(file, handle)
  t.equal(fs.lseek(file, handle, 0, 4), 4n)
  fs.release(file, handle)
  t.equal(fs.readlink(fs.lookup(ROOT_ID, 'link').nodeid), 'file')
  const directory = fs.opendir(ROOT_ID).handle
  t.equal(fs.readdir(ROOT_ID, directory, 0).length, 4)
  t.equal(fs.readdirplus(ROOT_ID, directory, 0).length, 4)
  fs.fsyncdir(ROOT_ID, directory)
  fs.releasedir(ROOT_ID, directory)
  fs.statfs()
  fs.syncfs()
  fs.forgetAll()
  fs.destroy()
})
