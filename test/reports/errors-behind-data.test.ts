/**
 * To a guest that fills its page cache, a reply shorter than asked for means the end of the file: it fills the rest
 * with zeros. To a guest that writes back, it means that all is written. If an error follows after some data, the error
 * has to be the reply.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { ROOT_ID, WRITE_CACHE } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { errorOf, refused } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const O_RDWR = 2
const KIB = 1024
const MIB = 1024 * KIB
const BLOCK_BYTES = 4096
t.setTimeout(300_000)

const rootOnly = isRoot ? {} : { skip: 'needs root: mounts' }

/** Mounts something at `path` until the test ends. Returns false where that cannot be done. */
function mounts(t: Test, path: string, args: readonly string[]): boolean {
  mkdirSync(path)
  if (spawnSync('mount', [...args, path]).status !== 0) return false
  t.teardown(() => spawnSync('umount', ['--lazy', path]))
  return true
}

for (const [user, options] of Object.entries(users)) {
  t.test(
    `${user}: when a disk fills up in the middle of a WRITE, write-back gets ENOSPC, and a program the shorter count`,
    rootOnly,
    async (t) => {
      const device = await Device.start(t, ['--cache', 'always', '--writeback'], options)
      const path = join(device.directory, 'small')
      if (!mounts(t, path, ['-t', 'tmpfs', '-o', `size=${MIB},mode=1777`, 'small'])) {
        t.pass('', { skip: 'no tmpfs can be mounted' })
        return
      }
      const fs = mount(t, device)
      const { nodeid, handle } = fs.create(fs.lookup(ROOT_ID, 'small').nodeid, 'file', O_RDWR)
      const most = MIB - 64 * KIB
      fs.write(nodeid, handle, 0, pattern(most, 1))
      const data = pattern(256 * KIB, 2)
      refused(t, 'ENOSPC', () => fs.write(nodeid, handle, most, data, O_RDWR, WRITE_CACHE))
      t.same(
        readFileSync(join(path, 'file')).subarray(most),
        Buffer.from(data.subarray(0, 64 * KIB)),
        'what had room is there',
      )
      fs.setattr(nodeid, { size: most })
      t.equal(fs.write(nodeid, handle, most, data), 64 * KIB, 'a program’s own write is told how much')
      fs.close()
    },
  )

  t.test(`${user}: at RLIMIT_FSIZE write-back gets EFBIG, and a program the shorter count`, async (t) => {
    const launcher = ['prlimit', `--fsize=${MIB}`, ...(options.launcher ?? [])]
    const device = await Device.start(t, ['--cache', 'always', '--writeback'], { ...options, launcher })
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    const data = pattern(64 * KIB, 2)
    const at = MIB - 16 * KIB
    refused(t, 'EFBIG', () => fs.write(nodeid, handle, at, data, O_RDWR, WRITE_CACHE))
    t.equal(fs.write(nodeid, handle, at, data), 16 * KIB, 'a program’s own write is told how much')
    fs.close()
  })

  t.test(
    `${user}: when blocks are lost in the middle of a READ, the page cache gets EIO, and a program what is there`,
    rootOnly,
    async (t) => {
      const device = await Device.start(t, [], options)
      const store = mkdtempSync(join(tmpdir(), 'vfs-disk-'))
      const image = join(store, 'image')
      t.teardown(() => rmSync(store, { recursive: true, force: true }))
      writeFileSync(image, '')
      truncateSync(image, 24 * MIB)
      const path = join(device.directory, 'disk')
      if (
        spawnSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', image]).status !== 0 ||
        !mounts(t, path, ['-o', 'loop,errors=continue', image])
      ) {
        t.pass('', { skip: 'no ext4 can be made and mounted here' })
        return
      }
      const data = pattern(4 * MIB, 7)
      writeFileSync(join(path, 'file'), data)
      chmodSync(join(path, 'file'), 0o666)
      execFileSync('sync', ['-f', path])
      const fs = mount(t, device)
      fs.roomMayChange = true
      const { nodeid } = fs.lookup(fs.lookup(ROOT_ID, 'disk').nodeid, 'file')
      const { handle } = fs.open(nodeid, O_RDWR)
      const page = (at: number) => errorOf(() => fs.read(nodeid, handle, at, BLOCK_BYTES))
      // Cuts the image so that only the first part of the file is left; the place is found by trial.
      let cutBytes = 24 * MIB
      let lost = data.length
      while (lost === data.length && cutBytes > MIB) {
        cutBytes -= MIB
        truncateSync(image, cutBytes)
        writeFileSync('/proc/sys/vm/drop_caches', '1')
        let good = 0
        while (lost - good > BLOCK_BYTES) {
          const middle = good + Math.floor((lost - good) / BLOCK_BYTES / 2) * BLOCK_BYTES
          if (page(middle) === 'EIO') lost = middle
          else good = middle
        }
      }
      t.ok(lost < data.length, `the first page lost is at ${lost}`)
      const from = lost - BLOCK_BYTES
      refused(
        t,
        'EIO',
        () => fs.read(nodeid, handle, from, 4 * BLOCK_BYTES),
        'for the page cache: all or nothing',
      )
      const own = fs.read(nodeid, handle, from, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES, O_RDWR)
      t.same(own, data.subarray(from, lost), 'a program’s own read gets what is there')
      refused(
        t,
        'EIO',
        () => fs.read(nodeid, handle, lost, BLOCK_BYTES, BLOCK_BYTES, O_RDWR),
        'and then the error',
      )
      fs.close()
    },
  )
}
