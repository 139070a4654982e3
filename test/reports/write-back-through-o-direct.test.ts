/**
 * A guest's kernel writes back, and fills its page cache, through any handle of a file, also one that was opened with
 * O_DIRECT. The host would refuse unaligned requests there. Direct I/O of the guest's programs stays direct.
 */
import { chownSync, closeSync, constants, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { policies, users } from '../support/device/users.js'
import { ROOT_ID, WRITE_CACHE } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const { O_CREAT, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const BLOCK_BYTES = 4096
const TAIL_BYTES = 1168

t.setTimeout(300_000)

for (const [user, options] of Object.entries(users)) {
  for (const [policy, args] of Object.entries(policies)) {
    t.test(`${policy}, as ${user}`, async (t) => {
      const device = await Device.start(t, ['--allow-direct-io', ...args], { ...options, storage: 'disk' })
      const path = join(device.directory, 'file')
      if (!hasDirectIo(device.directory)) {
        t.pass('O_DIRECT', { skip: 'the file system of this checkout has no O_DIRECT' })
        return
      }
      const fs = mount(t, device)
      fs.roomMayChange = true
      const direct = O_RDWR | O_DIRECT
      const tail = pattern(TAIL_BYTES, 3)

      t.test('write-back of a tail, and reads for the page cache, at any place', async (t) => {
        const { nodeid, handle } = fs.create(ROOT_ID, 'file', direct)
        t.equal(fs.write(nodeid, handle, 0, tail, direct, WRITE_CACHE), TAIL_BYTES)
        t.same(readFileSync(path), Buffer.from(tail), 'the host has it')
        t.same(fs.read(nodeid, handle, 0, BLOCK_BYTES, BLOCK_BYTES), tail)
        t.same(fs.read(nodeid, handle, 100, 7), tail.subarray(100, 107), 'part of a page')
        t.equal(fs.write(nodeid, handle, 5 * BLOCK_BYTES, tail, direct, WRITE_CACHE), TAIL_BYTES, 'it grows')
        fs.setattr(nodeid, { size: 700 })
        t.equal(fs.write(nodeid, handle, 512, tail.subarray(0, 188), direct, WRITE_CACHE), 188, 'it was cut')
        t.same(readFileSync(path).subarray(512), Buffer.from(tail.subarray(0, 188)))
        fs.release(nodeid, handle)
        unlinkSync(path)
      })

      t.test('a handle that lost its O_DIRECT (fcntl) takes any offset', async (t) => {
        const { nodeid, handle } = fs.create(ROOT_ID, 'file', direct)
        t.equal(fs.write(nodeid, handle, 3, tail, O_RDWR), TAIL_BYTES)
        t.same(fs.read(nodeid, handle, 3, 9, 9, O_RDWR), tail.subarray(0, 9))
        fs.release(nodeid, handle)
        unlinkSync(path)
      })

      t.test('the guest’s own O_DIRECT stays: EINVAL when it is not aligned', async (t) => {
        const { nodeid, handle } = fs.create(ROOT_ID, 'file', direct)
        const block = pattern(BLOCK_BYTES, 5)
        t.equal(fs.write(nodeid, handle, 0, block, direct), BLOCK_BYTES)
        t.same(fs.read(nodeid, handle, 0, BLOCK_BYTES, BLOCK_BYTES, direct), block)
        refused(t, 'EINVAL', () => fs.write(nodeid, handle, 1, tail.subarray(0, 100), direct))
        refused(t, 'EINVAL', () => fs.read(nodeid, handle, 1, 100, 100, direct))
        fs.write(nodeid, handle, BLOCK_BYTES, tail, direct, WRITE_CACHE)
        t.same(
          fs.read(nodeid, handle, BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES, direct),
          tail,
          'it sees what was written back, up to the end',
        )
        fs.release(nodeid, handle)
        unlinkSync(path)
      })

      t.test('copy_file_range between such handles takes any range', async (t) => {
        const from = fs.create(ROOT_ID, 'file', direct)
        const to = fs.create(ROOT_ID, 'copy', direct)
        fs.write(from.nodeid, from.handle, 0, tail, direct, WRITE_CACHE)
        t.equal(fs.copyFileRange([from.nodeid, from.handle, 5n], [to.nodeid, to.handle, 9n], 1000), 1000)
        t.same(readFileSync(join(device.directory, 'copy')).subarray(9), Buffer.from(tail.subarray(5, 1005)))
        for (const { nodeid, handle } of [from, to]) fs.release(nodeid, handle)
        unlinkSync(path)
        unlinkSync(join(device.directory, 'copy'))
      })

      t.test('every way to open keeps what it should', async (t) => {
        writeFileSync(path, tail)
        if (options.owner !== undefined) chownSync(path, options.owner, options.owner)
        const { nodeid } = fs.lookup(ROOT_ID, 'file')
        const reader = fs.open(nodeid, O_RDONLY | O_DIRECT)
        t.same(fs.read(nodeid, reader.handle, 1, 99), tail.subarray(1, 100), 'read-only')
        refused(t, 'EBADF', () => fs.write(nodeid, reader.handle, 0, tail, 0, WRITE_CACHE))
        fs.release(nodeid, reader.handle)
        const over = fs.create(ROOT_ID, 'file', O_WRONLY | O_TRUNC | O_DIRECT)
        t.equal(readFileSync(path).length, 0, 'emptied once')
        t.equal(fs.write(nodeid, over.handle, 0, tail.subarray(0, 10), direct, WRITE_CACHE), 10)
        fs.release(nodeid, over.handle)
        refused(t, 'EEXIST', () => fs.create(ROOT_ID, 'file', direct | O_EXCL))
        t.same(device.openFlagsOf('file'), [], 'nothing stays open')
        unlinkSync(path)
      })

      t.test('a new file whose mode denies its maker everything', async (t) => {
        for (const mode of [0o444, 0o200, 0]) {
          const { nodeid, handle } = fs.create(ROOT_ID, 'file', direct, mode)
          t.equal(fs.write(nodeid, handle, 0, tail, direct, WRITE_CACHE), TAIL_BYTES)
          t.same(fs.read(nodeid, handle, 0, BLOCK_BYTES), tail)
          t.equal(fs.write(nodeid, handle, 0, pattern(BLOCK_BYTES, 8), direct), BLOCK_BYTES)
          fs.release(nodeid, handle)
          unlinkSync(path)
        }
      })
    })
  }
}

t.test('descriptors: what is opened twice counts twice, and all are given back', async (t) => {
  const device = await Device.start(t, ['--allow-direct-io', '--rlimit-nofile', '512'], { storage: 'disk' })
  if (!hasDirectIo(device.directory)) {
    t.pass('O_DIRECT', { skip: 'the file system of this checkout has no O_DIRECT' })
    return
  }
  const fs = mount(t, device)
  const held = device.fdCount()
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR | O_DIRECT)
  fs.release(nodeid, handle)
  const before = device.fdCount()
  t.equal(before - held, 1, 'the inode’s alone')
  const handles: bigint[] = []
  refused(t, 'ENFILE', () => {
    for (let n = 0; n < 1000; n++) handles.push(fs.open(nodeid, O_RDWR | O_DIRECT).handle)
  })
  t.ok(handles.length > 50)
  for (const handle of handles) fs.release(nodeid, handle)
  await device.waitForFdCount(before)
})

function hasDirectIo(directory: string): boolean {
  const path = join(directory, 'probe')
  try {
    closeSync(openSync(path, O_RDWR | O_CREAT | O_DIRECT))
    return true
  } catch {
    return false
  } finally {
    unlinkSync(path)
  }
}
