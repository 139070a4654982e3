/** What a state from elsewhere may make a share hold, and how its paths are opened without openat2. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { NO_FD, OpenFile } from '../../../src/passthrough/files/open-file.js'
import { FdBudget } from '../../../src/passthrough/inodes/fd-budget.js'
import { HandleLife } from '../../../src/passthrough/inodes/host-file-system.js'
import { openBelow } from '../../../src/passthrough/inodes/open-below.js'
import { LockTable } from '../../../src/passthrough/locks/lock-table.js'
import { MemoryAccount } from '../../../src/passthrough/memory-account.js'
import { NameOpener } from '../../../src/passthrough/names/name-opener.js'
import { Mounts } from '../../../src/passthrough/state/mounts.js'
import { checkNoFdLeak, countOpenFds } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { F_WRLCK, O_PATH } = native.constants
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

t.test('a path that is opened name by name leads nowhere else, and two dots may begin a name', (t) => {
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

t.test('locks that come with a state count as those that a guest takes', (t) => {
  const path = join(tempDir(t), 'file')
  const fd = openSync(path, 'w+')
  const host = { inMemory: true, ignoresNonblock: true, nowaitReads: false, handleLife: HandleLife.AsFile }
  const file = new OpenFile(fd, new FdBudget(10), 1, NO_FD, 0, host, true, false, false)
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
