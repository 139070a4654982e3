/** The resources that a loaded state may make a share hold, and how its paths are opened without openat2. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { idOf, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { NO_FD, OpenFile } from '../../../src/passthrough/files/open-file.js'
import { OwnDeviceNumbers } from '../../../src/passthrough/inodes/device-numbers.js'
import { FdBudget } from '../../../src/passthrough/inodes/fd-budget.js'
import { HandleLife, HostFileSystems } from '../../../src/passthrough/inodes/host-file-system.js'
import { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import { InodeTable } from '../../../src/passthrough/inodes/inode-table.js'
import { LastPlaces } from '../../../src/passthrough/inodes/last-places.js'
import { openBelow } from '../../../src/passthrough/inodes/open-below.js'
import { STATX_MASK } from '../../../src/passthrough/inodes/statx.js'
import { OwnSpace } from '../../../src/passthrough/inodes/table-space.js'
import { LockTable } from '../../../src/passthrough/locks/lock-table.js'
import { MemoryAccount } from '../../../src/passthrough/memory-account.js'
import { NameOpener } from '../../../src/passthrough/names/name-opener.js'
import { Mounts } from '../../../src/passthrough/state/mounts.js'
import { checkNoFdLeak, countOpenFds } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { F_WRLCK, O_PATH } = native.constants
/** A state may name this slot with the default --inode-limit. */
const HIGH_SLOT = 150_000_000
const MOST_CHUNK_BYTES = 8 * 1024 * 1024
const { EINVAL, ENOLCK, ENOTDIR } = os.errno

t.test('directories on devices take the share’s own descriptors, and no more than it may have', (t) => {
  const directory = tempDir(t)
  checkNoFdLeak(t, () => {
    const rootFd = openPath(directory)
    const budget = new FdBudget(3)
    const mounts = new Mounts(rootFd, new NameOpener(rootFd), budget)
    const before = countOpenFds()
    mounts.take(Object.fromEntries(Array.from({ length: 100 }, (_, n) => [n, ''])))
    t.equal(countOpenFds(), before + 3)
    t.equal(budget.left, 0)
    mounts.close()
    t.equal(budget.used, 0)
    mounts.take({ 1: '' })
    t.throws(() => mounts.take({ '01': '' }), { name: 'StateError' }, 'twice')
    mounts.close()
    native.close(rootFd)
  })
  t.end()
})

t.test('a path that is opened name by name stays in the share, and a name may begin with two dots', (t) => {
  const directory = tempDir(t)
  mkdirSync(join(directory, '..data'))
  writeFileSync(join(directory, '..data', '...'), '')
  checkNoFdLeak(t, () => {
    const rootFd = openPath(directory)
    const opener = Object.assign(Object.create(NameOpener.prototype), { locked: false }) as NameOpener
    for (const [path, error] of [
      ['..data/...', 0],
      ['..', -EINVAL],
      ['.', -EINVAL],
      ['..data/../..', -EINVAL],
      ['/etc', -EINVAL],
      ['..data//...', -EINVAL],
      ['..data/.../x', -ENOTDIR],
    ] as const) {
      const fd = openBelow(rootFd, opener, new TextEncoder().encode(path), O_PATH)
      t.equal(Math.min(fd, 0), error, path)
      if (fd >= 0) native.close(fd)
    }
    native.close(rootFd)
  })
  t.end()
})

t.test('one high slot takes the memory of its chunk, not that of all slots below', (t) => {
  const directory = tempDir(t)
  checkNoFdLeak(t, () => {
    const rootFd = openPath(directory)
    const budget = new FdBudget(10)
    const places = new LastPlaces(
      rootFd,
      () => undefined,
      () => false,
      new MemoryAccount(),
    )
    const space = new OwnSpace()
    const fds = new InodeFds(
      budget,
      undefined,
      new HostFileSystems(new OwnDeviceNumbers()),
      places,
      () => {},
      space,
    )
    const inodes = new InodeTable(fds, space)
    const st = new Int32Array(Statx.WORDS)
    native.fstatx(rootFd, STATX_MASK, st)
    inodes.add(openPath(directory), st)
    const before = process.memoryUsage().arrayBuffers
    inodes.restore(HIGH_SLOT, 3, 1, -1, st)
    inodes.restored()
    t.ok(process.memoryUsage().arrayBuffers - before < MOST_CHUNK_BYTES)
    t.same([...inodes.known()], [1, HIGH_SLOT])
    t.equal(inodes.slotOf(idOf(HIGH_SLOT, 3)), HIGH_SLOT)
    t.equal(inodes.slotOf(idOf(HIGH_SLOT / 2, 0)), 0, 'a slot of no chunk')
    t.equal(inodes.isKnown(HIGH_SLOT / 2), false)
    t.equal([...inodes.freeSlots()].length < 2 * 16_384, true)
    inodes.clear()
    native.close(rootFd)
  })
  t.end()
})

t.test('locks that come with a state count as those that a guest takes', (t) => {
  const path = join(tempDir(t), 'file')
  const fd = openSync(path, 'w+')
  const host = {
    inMemory: true,
    isAutofs: false,
    isGenerated: false,
    ignoresNonblock: true,
    nowaitReads: false,
    handleLife: HandleLife.AsFile,
  }
  const use = { openFlags: 0, isWritable: true, isAppendOnly: false, writesPages: false }
  const file = new OpenFile(fd, NO_FD, new FdBudget(10), 1, host, use)
  const memory = new MemoryAccount()
  const table = new LockTable(memory)
  const lock = (startByte: number) =>
    table.adopt({ file, type: F_WRLCK, startByte, lastByte: startByte, ownerLow: 1, ownerHigh: 0, pid: 1 })
  t.equal(lock(0), 0)
  for (; memory.hasRoom('locks', 1024); ) memory.add('locks', 1024)
  t.equal(lock(10), -ENOLCK)
  table.clear()
  closeSync(fd)
  t.end()
})
