/** Which flags the host's file is opened with: O_DIRECT, O_APPEND, and the upgrade for write-back. */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdirSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { ROOT_ID, WRITE_CACHE } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { pattern } from '../../support/pattern.js'

const { O_APPEND, O_DIRECT, O_NOATIME, O_NONBLOCK, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants
const ACCESS_MODE = 3
const O_ASYNC = 0o20000
const FOPEN_DIRECT_IO = 1
const BLOCK_BYTES = 4096

const rootOnly = isRoot ? {} : { skip: 'needs root: mounts' }

/** Every way to get a handle, by name: OPEN, CREATE of a new file, CREATE over one that is there. */
const ways: Record<string, (fs: FuseGuest, device: Device, flags: number) => [bigint, bigint]> = {
  OPEN(fs, device, flags) {
    writeFileSync(`${device.directory}/file`, pattern(2 * BLOCK_BYTES, 1))
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    return [nodeid, fs.open(nodeid, flags).handle]
  },
  'CREATE of a new file'(fs, _device, flags) {
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', flags)
    return [nodeid, handle]
  },
  'CREATE over a file'(fs, device, flags) {
    writeFileSync(`${device.directory}/file`, pattern(2 * BLOCK_BYTES, 1))
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', flags)
    return [nodeid, handle]
  },
}

function eachWay(
  t: Test,
  device: Device,
  flags: number,
  check: (t: Test, fs: FuseGuest, file: bigint, handle: bigint, hostFlags: number) => void,
): void {
  for (const [name, open] of Object.entries(ways)) {
    t.test(name, async (t) => {
      const fs = mount(t, device)
      const [file, handle] = open(fs, device, flags)
      const hostFlags = device.openFlagsOf('file')
      t.equal(hostFlags.length, 1)
      check(t, fs, file, handle, hostFlags[0])
      fs.release(file, handle)
      unlinkSync(`${device.directory}/file`)
      fs.close()
    })
  }
}

t.test('without --writeback a file opened for writing is not readable', async (t) => {
  const device = await Device.start(t, ['--keep-alive'])
  eachWay(t, device, O_WRONLY, (t, fs, file, handle, hostFlags) => {
    t.equal(hostFlags & ACCESS_MODE, O_WRONLY)
    refused(t, 'EBADF', () => fs.read(file, handle, 0, 1))
  })
})

t.test(
  'with --writeback a file opened for writing is readable: pages are filled before they change',
  async (t) => {
    const device = await Device.start(t, ['--keep-alive', '--writeback'])
    eachWay(t, device, O_WRONLY, (t, fs, file, handle, hostFlags) => {
      t.equal(hostFlags & ACCESS_MODE, O_RDWR)
      fs.write(file, handle, 0, pattern(100, 9), O_WRONLY, WRITE_CACHE)
      t.same(fs.read(file, handle, 0, 100), pattern(100, 9))
    })
    eachWay(t, device, O_RDONLY, (t, fs, file, handle, hostFlags) => {
      t.equal(hostFlags & ACCESS_MODE, O_RDONLY)
      refused(t, 'EBADF', () => fs.write(file, handle, 0, pattern(1, 1)))
    })
  },
)

for (const option of [[], ['--writeback']]) {
  t.test(`O_APPEND is never the host's: a write-back has a place of its own ${option}`, async (t) => {
    const device = await Device.start(t, ['--keep-alive', ...option])
    eachWay(t, device, O_RDWR | O_APPEND, (t, fs, file, handle, hostFlags) => {
      t.equal(hostFlags & O_APPEND, 0)
      const { size } = fs.getattr(file).attr
      fs.write(file, handle, 0, pattern(10, 2), O_RDWR | O_APPEND)
      t.same(fs.read(file, handle, size, 10), pattern(10, 2))
      fs.write(file, handle, 0, pattern(10, 3), O_RDWR | O_APPEND, WRITE_CACHE)
      t.same(fs.read(file, handle, 0, 10), pattern(10, 3))
      t.equal(fs.getattr(file).attr.size, size === 0n ? 10n : size + 10n)
    })
  })
}

for (const option of [[], ['--writeback'], ['--cache', 'always']]) {
  t.test(`a file that the host lets only grow (chattr +a) ${option}`, async (t) => {
    const device = await Device.start(t, option, { storage: 'disk' })
    const path = `${device.directory}/log`
    writeFileSync(path, 'begin')
    if (!changeFlags('+a', path)) {
      t.pass('chattr +a', {
        skip: 'the file system of this checkout has no append-only files, or chattr is missing',
      })
      return
    }
    t.teardown(() => changeFlags('-a', path))
    const fs = mount(t, device)
    const { nodeid: file } = fs.lookup(ROOT_ID, 'log')
    for (const open of [
      () => fs.open(file, O_WRONLY | O_APPEND),
      () => fs.create(ROOT_ID, 'log', O_WRONLY | O_APPEND),
    ]) {
      const { handle, flags } = open()
      // Write-back from cached pages would append the data that the file already has.
      t.equal(flags, FOPEN_DIRECT_IO)
      t.equal(fs.write(file, handle, 0, Buffer.from(' more'), O_WRONLY | O_APPEND), 5)
      refused(t, 'EPERM', () =>
        fs.write(file, handle, 0, Buffer.from('BEGIN'), O_WRONLY | O_APPEND, WRITE_CACHE),
      )
      fs.release(file, handle)
    }
    t.equal(readFileSync(path, 'utf8'), 'begin more more')
    refused(t, 'EPERM', () => fs.open(file, O_WRONLY))
    refused(t, 'EPERM', () => fs.open(file, O_WRONLY | O_APPEND | O_TRUNC))
    const { handle, flags } = fs.open(file, O_RDONLY)
    t.equal(flags & FOPEN_DIRECT_IO, 0)
    fs.release(file, handle)
  })
}

function changeFlags(change: string, path: string): boolean {
  return spawnSync('chattr', [change, path]).status === 0
}

t.test('O_SYNC is kept; O_NOCTTY and O_ASYNC are not', async (t) => {
  const device = await Device.start(t, ['--keep-alive'])
  const refused = constants.O_NOCTTY | O_ASYNC
  eachWay(t, device, O_RDWR | O_SYNC | O_NONBLOCK | refused, (t, _fs, _file, _handle, hostFlags) => {
    t.equal(hostFlags & O_SYNC, O_SYNC)
    t.equal(hostFlags & refused, 0)
  })
})

t.test('O_NONBLOCK is removed where a file system may obey it', rootOnly, async (t) => {
  const device = await Device.start(t, [])
  const layers = tempDir(t)
  for (const name of ['lower', 'upper', 'work']) mkdirSync(`${layers}/${name}`)
  mkdirSync(`${device.directory}/overlay`)
  const options = `lowerdir=${layers}/lower,upperdir=${layers}/upper,workdir=${layers}/work`
  const mounted = spawnSync('mount', [
    '-t',
    'overlay',
    '-o',
    options,
    'overlay',
    `${device.directory}/overlay`,
  ])
  if (mounted.status !== 0) {
    t.pass('overlay', { skip: `no overlay: ${mounted.stderr}` })
    return
  }
  t.teardown(() => spawnSync('umount', ['--lazy', `${device.directory}/overlay`]))
  writeFileSync(`${device.directory}/overlay/file`, 'text')
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(fs.lookup(ROOT_ID, 'overlay').nodeid, 'file')
  fs.open(nodeid, O_RDWR)
  t.same(
    device.openFlagsOf('file').map((hostFlags) => hostFlags & O_NONBLOCK),
    [0],
  )
})

t.test('without --allow-direct-io O_DIRECT is stripped, and any offset and length work', async (t) => {
  const device = await Device.start(t, ['--keep-alive'], { storage: 'disk' })
  eachWay(t, device, O_RDWR | O_DIRECT, (t, fs, file, handle, hostFlags) => {
    t.equal(hostFlags & O_DIRECT, 0)
    fs.write(file, handle, 1, pattern(7, 4), O_RDWR | O_DIRECT)
    t.same(fs.read(file, handle, 1, 7), pattern(7, 4))
  })
})

t.test('with --allow-direct-io O_DIRECT is kept, and pages move straight to the disk', async (t) => {
  const device = await Device.start(t, ['--keep-alive', '--allow-direct-io'], { storage: 'disk' })
  if (!hasDirectIo(device)) {
    t.pass('O_DIRECT', { skip: 'the file system of this checkout has no O_DIRECT' })
    return
  }
  const flags = O_RDWR | O_DIRECT
  for (const [name, open] of Object.entries(ways)) {
    t.test(name, async (t) => {
      const fs = mount(t, device)
      const [file, handle] = open(fs, device, flags)
      t.same(
        device.openFlagsOf('file').map((hostFlags) => hostFlags & O_DIRECT),
        name === 'CREATE of a new file' ? [0, O_DIRECT] : [O_DIRECT, 0],
        'one descriptor for the guest’s own transfers, one for its page cache',
      )
      const data = pattern(4 * BLOCK_BYTES, 5)
      t.equal(fs.write(file, handle, 0, data, flags), data.length)
      t.ok(Buffer.from(fs.read(file, handle, 0, data.length, data.length, flags)).equals(data))
      t.equal(fs.read(file, handle, data.length, BLOCK_BYTES, BLOCK_BYTES, flags).length, 0)
      t.same(
        device.openFlagsOf('file').map((hostFlags) => hostFlags & O_NONBLOCK),
        [0, 0],
        'what waits for the disk is not told to come again',
      )
      fs.release(file, handle)
      t.same(device.openFlagsOf('file'), [], 'both are given back')
      unlinkSync(`${device.directory}/file`)
      fs.close()
    })
  }
  eachWay(t, device, O_RDWR | O_TRUNC, (t, _fs, _file, _handle, hostFlags) => {
    t.equal(hostFlags & O_DIRECT, 0)
  })
})

function hasDirectIo(device: Device): boolean {
  const path = `${device.directory}/probe`
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT | O_DIRECT))
    return true
  } catch {
    return false
  } finally {
    unlinkSync(path)
  }
}

for (const preserve of [false, true]) {
  t.test(`O_NOATIME is the host's ${preserve ? 'with --preserve-noatime' : 'never'}`, async (t) => {
    const device = await Device.start(t, ['--keep-alive', ...(preserve ? ['--preserve-noatime'] : [])])
    eachWay(t, device, O_RDONLY | O_NOATIME, (t, _fs, _file, _handle, hostFlags) => {
      t.equal((hostFlags & O_NOATIME) !== 0, preserve)
    })
  })
}
