/** An inode with an invalid handle is found at its last place, and another inode there is refused. */
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { OwnDeviceNumbers } from '../../../src/passthrough/inodes/device-numbers.js'
import { FdBudget } from '../../../src/passthrough/inodes/fd-budget.js'
import type { FileHandles } from '../../../src/passthrough/inodes/file-handles.js'
import { HandleLife, HostFileSystems } from '../../../src/passthrough/inodes/host-file-system.js'
import { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import { LastPlaces } from '../../../src/passthrough/inodes/last-places.js'
import { OwnSpace } from '../../../src/passthrough/inodes/table-space.js'
import { MemoryAccount } from '../../../src/passthrough/memory-account.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_DIRECTORY, O_PATH } = native.constants
const ESTALE = 116
const DEVICE = 1

const cstring = (text: string) => new TextEncoder().encode(`${text}\0`)

function openPathOnly(path: string): number {
  const fd = native.openat(native.constants.AT_FDCWD, cstring(path), 0, O_PATH, 0)
  if (fd < 0) throw new Error(`${path}: errno ${-fd}`)
  return fd
}

function prepare(t: Test) {
  const directory = tempDir(t)
  const rootFd = openPathOnly(directory)
  const memory = new MemoryAccount()
  const names = new Map<number, string>()
  const lost = new Set<number>()
  const nameOf = (fd: number) => (names.has(fd) ? cstring(names.get(fd)!) : undefined)
  const places = new LastPlaces(rootFd, nameOf, (fd) => lost.has(fd), memory)
  t.teardown(() => closeSync(rootFd))
  /** Opens a file below the directory, so that it can be remembered. */
  const open = (name: string) => {
    const fd = openPathOnly(join(directory, name))
    names.set(fd, name)
    return fd
  }
  return { directory, memory, places, open, names, lost }
}

t.test('an inode is found at its last place, and another one there is refused', async (t) => {
  const { directory, memory, places, open } = prepare(t)
  mkdirSync(join(directory, 'sub'))
  const path = join(directory, 'sub/file')
  writeFileSync(path, 'text')
  linkSync(path, join(directory, 'other'))
  const fd = open('sub/file')
  places.remember(5, fd)
  closeSync(fd)
  t.ok(memory.report().places > 0)
  const found = places.open(5)
  t.ok(found >= 0)
  closeSync(found)
  t.equal(places.open(6), -ESTALE, 'a slot that nobody knows')

  unlinkSync(path)
  t.equal(places.open(5), -ESTALE, 'the name is gone')
  symlinkSync('../other', path)
  t.equal(places.open(5), -ESTALE, 'a link to it is not it')
  unlinkSync(path)
  writeFileSync(path, 'text')
  t.equal(places.open(5), -ESTALE, 'another file has the name')
  renameSync(join(directory, 'other'), path)
  const again = places.open(5)
  t.ok(again >= 0, 'it has come back')
  closeSync(again)

  places.forget(5)
  t.equal(places.open(5), -ESTALE)
  t.equal(memory.report().places, 0)
})

t.test('a place is the last one, and an inode that has lost its name has none', async (t) => {
  const { directory, places, open, names, lost } = prepare(t)
  const path = (name: string) => join(directory, name)
  writeFileSync(path('old'), '')
  const fd = open('old')
  t.ok(places.remember(5, fd))
  renameSync(path('old'), path('new'))
  names.set(fd, 'new')
  t.ok(places.remember(5, fd))
  const found = places.open(5)
  t.ok(found >= 0, 'its new place')
  closeSync(found)

  names.delete(fd)
  t.ok(places.remember(5, fd), 'opened by its handle, without a look at its name')
  closeSync(places.open(5))
  linkSync(path('new'), path('other'))
  unlinkSync(path('new'))
  lost.add(fd)
  t.notOk(places.remember(5, fd), 'the name by which it was found has gone')
  lost.delete(fd)
  unlinkSync(path('other'))
  t.notOk(places.remember(5, fd), 'it has no name')
  closeSync(fd)
})

t.test('when its memory is used up, nothing more is remembered', async (t) => {
  const { directory, memory, places, open } = prepare(t)
  writeFileSync(join(directory, 'file'), '')
  const fd = open('file')
  memory.add('places', memory.report().limit)
  t.ok(places.remember(5, fd), 'its handle is trusted')
  t.equal(places.open(5), -ESTALE)
  closeSync(fd)
})

t.test(
  'a handle that dies before its file: the inode is found, and its file system is trusted no more',
  async (t) => {
    const { directory, places, open } = prepare(t)
    writeFileSync(join(directory, 'one'), '')
    writeFileSync(join(directory, 'two'), '')
    const hosts = new HostFileSystems(new OwnDeviceNumbers())
    const dead = {
      keep: () => true,
      open: () => -ESTALE,
      matches: () => false,
      forget: () => {},
      close: () => {},
    } as unknown as FileHandles
    const fds = new InodeFds(new FdBudget(100), dead, hosts, places, () => {}, new OwnSpace())
    const probe = openSync(directory, O_DIRECTORY)
    hosts.of(DEVICE, probe).handleLife = HandleLife.Unknown
    closeSync(probe)
    fds.adopt(1, open('one'), DEVICE, false)
    fds.adopt(2, open('two'), DEVICE, false)
    t.ok(fds.rest(1) && fds.rest(2), 'both descriptors are closed')
    t.ok(fds.isFile(1, -1, cstring('one'), 0), 'a name leads to it')
    t.ok(fds.get(1) >= 0)
    t.notOk(fds.rest(1), 'it keeps its descriptor from now on')
    unlinkSync(join(directory, 'two'))
    t.equal(fds.get(2), -ESTALE, 'a file that is gone')
    for (const slot of [1, 2]) fds.forget(slot)
    fds.clear()
  },
)
