/** Tables that threads share, with steps of one thread between those of another's request. */
import { strict as assert } from 'node:assert'
import { linkSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EBADF, ENFILE, ESTALE, FUSE_ROOT_ID, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { NO_FD, OpenFile } from '../../../src/passthrough/files/open-file.js'
import { hostFileSystemAt } from '../../../src/passthrough/inodes/host-file-system.js'
import { STATX_MASK } from '../../../src/passthrough/inodes/statx.js'
import { makeTableMemory, SLOT_LIMIT } from '../../../src/passthrough/shared/table-memory.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { Tables } from '../../support/shared-tables/tables.js'

const nameOf = (name: string) => new TextEncoder().encode(`${name}\0`)
const st = new Int32Array(Statx.WORDS)
/** struct statx. */
const STX_DEV_MAJOR_AT = 136
const STX_DEV_MINOR_AT = 140

/** Two threads with a directory of two files. */
function start(t: Test, fdLimit = 1000) {
  const directory = tempDir(t)
  for (const name of ['a', 'b']) writeFileSync(join(directory, name), name)
  const memory = makeTableMemory(2)
  const [one, other] = [0, 1].map((thread) => new Tables(memory, thread, directory, fdLimit)) as [
    Tables,
    Tables,
  ]
  native.fstatx(one.rootFd, STATX_MASK, st)
  one.inodes.add(native.dup(one.rootFd), st)
  t.teardown(() => {
    for (const tables of [one, other]) tables.space.leave()
    one.open.clear((file) => file.release())
    one.inodes.clear()
    one.space.leave()
    assert.equal(one.space.budget.used, 0, 'no descriptor is left')
    for (const tables of [one, other]) tables.close()
  })
  const lookUp = (tables: Tables, name: string) => tables.finder.lookup(FUSE_ROOT_ID, nameOf(name), 0, st)
  return { directory, one, other, lookUp }
}

const use = { openFlags: 1, isWritable: false, isAppendOnly: false, writesPages: false }

function openFile({ space, inodes, open }: Tables): number {
  const fd = native.dup(inodes.fdOf(FUSE_ROOT_ID))
  return open.add(new OpenFile(fd, NO_FD, space.budget, FUSE_ROOT_ID, hostFileSystemAt(fd), use))
}

t.test('a slot stands for one file until the batch ends, whoever forgets it', async (t) => {
  const { one, other, lookUp } = start(t)
  const slot = lookUp(one, 'a')
  one.space.enter()
  const nodeid = one.inodes.idOf(slot)
  t.equal(one.inodes.slotOf(nodeid), slot)
  other.space.enter()
  other.inodes.forget(nodeid, 1)
  const another = lookUp(other, 'b')
  other.space.leave()
  t.not(another, slot, 'the slot is not given to another file')
  t.equal(one.inodes.slotOf(nodeid), 0)
  t.equal(one.inodes.fdOf(slot), -ESTALE)
  one.space.leave()
  other.space.leave()
  t.equal(lookUp(other, 'a'), slot, 'it is used again')
  t.not(other.inodes.idOf(slot), nodeid)
})

t.test('a descriptor stays open until the batch ends, whoever gives it up', async (t) => {
  const { one, other, lookUp } = start(t)
  const slot = lookUp(one, 'a')
  const handle = openFile(one)
  one.space.enter()
  const fds = [one.inodes.fdOf(slot), one.open.get(handle)?.fd ?? -1]
  other.space.enter()
  other.inodes.forget(other.inodes.idOf(slot), 1)
  other.open.remove(handle)?.release()
  other.space.leave()
  for (const fd of fds) t.equal(native.fstatx(fd, STATX_MASK, st), 0)
  one.space.leave()
  other.space.leave()
  for (const fd of fds) t.equal(native.fstatx(fd, STATX_MASK, st), -EBADF)
})

t.test('an inode without a descriptor that another thread forgets is not opened again', async (t) => {
  const { one, other, lookUp } = start(t)
  const slot = lookUp(one, 'a')
  if (!one.fds.rest(slot)) {
    t.pass('handles cannot be opened here')
    return
  }
  one.space.enter()
  const nodeid = one.inodes.idOf(slot)
  t.equal(one.inodes.slotOf(nodeid), slot)
  other.inodes.forget(nodeid, 1)
  t.equal(one.inodes.fdOf(slot), -ESTALE)
  one.space.leave()
})

t.test('slots that never stood for an inode have no descriptor', async (t) => {
  const { one, lookUp } = start(t)
  const slot = lookUp(one, 'a')
  if (!one.fds.rest(slot)) {
    t.pass('handles cannot be opened here')
    return
  }
  t.ok(one.fds.someRest)
  for (const other of [0, slot + 1]) t.equal(one.inodes.fdOf(other), -ESTALE)
})

t.test('what waits when a session ends does not come into the tables of the next one', async (t) => {
  const { one, other, lookUp } = start(t)
  const slot = lookUp(one, 'a')
  const handle = openFile(one)
  one.space.enter()
  other.space.enter()
  other.open.remove(handle)?.release()
  other.inodes.forget(other.inodes.idOf(slot), 1)
  other.space.leave()
  // The first thread serves a DESTROY in its batch.
  other.space.forgetSlots()
  for (const tables of [other.inodes, other.open]) tables.lookAgain()
  one.open.clear((file) => file.release())
  one.inodes.clear()
  one.space.leave()
  other.space.leave()
  t.equal(one.space.budget.used, 0, 'its descriptors are closed')
  native.fstatx(one.rootFd, STATX_MASK, st)
  one.inodes.add(native.dup(one.rootFd), st)
  other.space.leave()
  const handles = [openFile(one), openFile(one), openFile(one)]
  t.equal(new Set(handles).size, 3)
  t.not(lookUp(one, 'a'), lookUp(one, 'b'))
})

t.test(
  'a name that becomes another file while it is looked up does not take its inode from its other name',
  async (t) => {
    const { directory, one, lookUp } = start(t)
    linkSync(join(directory, 'a'), join(directory, 'link'))
    const slot = lookUp(one, 'a')
    if (!one.fds.rest(slot)) {
      t.pass('handles cannot be opened here')
      return
    }
    native.statx(one.rootFd, nameOf('a'), 0, 0, STATX_MASK, st)
    renameSync(join(directory, 'b'), join(directory, 'a'))
    t.equal(one.inodes.findAndRef(st, one.rootFd, nameOf('a'), 0), slot)
    t.equal(lookUp(one, 'link'), slot, 'there is one inode of it')
  },
)

/** Returns how long a thread tries to get a descriptor, and if it gets one. */
function makeRoom({ fds }: Tables): { hasRoom: boolean; tookMs: number } {
  const startMs = performance.now()
  return { hasRoom: fds.makeRoom(), tookMs: performance.now() - startMs }
}

/** Opens as many handles as there is room for. */
function openAll(tables: Tables): number[] {
  const handles: number[] = []
  while (tables.space.budget.left > 0) handles.push(openFile(tables))
  return handles
}

t.test('a batch that does not end is waited for once: then there are no descriptors', async (t) => {
  const { one, other } = start(t, 400)
  const handles = openAll(one)
  other.space.enter()
  one.space.enter()
  for (const handle of handles) one.open.remove(handle)?.release()
  // Some make room at once.
  while (one.space.budget.left > 0) openFile(one)
  const [first, second, third] = [makeRoom(one), makeRoom(one), makeRoom(one)]
  t.same([first.hasRoom, second.hasRoom, third.hasRoom], [false, false, false], 'ENFILE')
  t.ok(first.tookMs > 50, `${first.tookMs} ms`)
  t.ok(second.tookMs + third.tookMs < 50, `${second.tookMs} and ${third.tookMs} ms`)
  t.equal(one.space.nextDueMs(), 50, 'it does not look again all the time')
  other.space.leave()
  t.ok(makeRoom(one).hasRoom, 'it has ended')
  other.space.enter()
  t.ok(makeRoom(one).hasRoom)
  other.space.leave()
})

/** What statx says of a file on another mount. */
function onMount(mountId: number): StatxWords {
  const words = new Int32Array(Statx.WORDS)
  const view = new DataView(words.buffer)
  view.setUint32(STX_DEV_MAJOR_AT, 1, true)
  view.setUint32(STX_DEV_MINOR_AT, mountId, true)
  return words
}

t.test('threads forget file systems that the guest has left, whichever thread has noticed', async (t) => {
  const { one, other } = start(t)
  const [{ devices }, { rootFd }] = [one.space, one]
  for (let mountId = 1; mountId <= 100; mountId++) {
    const device = devices.numberOf(onMount(mountId))
    devices.enter(device)
    for (const { hosts } of [one, other]) hosts.of(device, rootFd)
    t.ok(devices.isUsed(device))
    t.ok(devices.leave(device))
    t.notOk(devices.isUsed(device))
    one.fds.forgetDevice(device)
  }
  t.ok(other.hosts.count <= 2, `${other.hosts.count} file systems`)
})

t.test('mounts of files that the guest was refused do not use numbers up', async (t) => {
  const { one } = start(t)
  const { devices } = one.space
  const numbers = new Set<number>()
  for (let mountId = 1; mountId <= 8400; mountId++) numbers.add(devices.numberOf(onMount(mountId)))
  t.notOk(numbers.has(0))
  t.equal(numbers.size, 8400, 'none is given twice')
  native.fstatx(one.rootFd, STATX_MASK, st)
  t.equal(devices.numberOf(st), one.inodes.deviceOf(FUSE_ROOT_ID), 'those in use stay')
})

t.test('tables that are full refuse an inode', async (t) => {
  const { one, lookUp } = start(t)
  const words = one.space.words('inodes')
  const [, next] = words
  words[1] = SLOT_LIMIT
  t.ok(one.inodes.isFull)
  t.equal(lookUp(one, 'a'), -ENFILE)
  words[1] = next ?? 0
  t.ok(lookUp(one, 'a') > 0)
})
