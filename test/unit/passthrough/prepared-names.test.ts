/** Names that are read before a guest stops: a directory counts as unchanged only if every change of it would show. */
import { mkdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { OwnDeviceNumbers } from '../../../src/passthrough/inodes/device-numbers.js'
import { FdBudget } from '../../../src/passthrough/inodes/fd-budget.js'
import { FileHandles } from '../../../src/passthrough/inodes/file-handles.js'
import { HandleLife, HostFileSystems } from '../../../src/passthrough/inodes/host-file-system.js'
import { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import { InodeTable } from '../../../src/passthrough/inodes/inode-table.js'
import { LastPlaces } from '../../../src/passthrough/inodes/last-places.js'
import { STATX_MASK } from '../../../src/passthrough/inodes/statx.js'
import { OwnSpace } from '../../../src/passthrough/inodes/table-space.js'
import { MemoryAccount } from '../../../src/passthrough/memory-account.js'
import { Entry, PreparedNames } from '../../../src/passthrough/state/prepared-names.js'
import { checkNoFdLeak, ok } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { AT_SYMLINK_NOFOLLOW, O_NOFOLLOW, O_PATH } = native.constants
/** Longer than a directory must have been left alone. */
const SETTLED_MS = 700
const NAMES = 100

/** A guest that knows every file of a directory. */
function guestOf(t: Test) {
  const directory = tempDir(t)
  mkdirSync(join(directory, 'sub'))
  for (let n = 0; n < NAMES; n++) writeFileSync(join(directory, 'sub', `f${n}`), '')
  const [rootFd, procFd] = [openPath(directory), openPath('/proc/self/fd')]
  const hosts = new HostFileSystems(new OwnDeviceNumbers())
  const places = new LastPlaces(
    rootFd,
    () => undefined,
    () => false,
    new MemoryAccount(),
  )
  const space = new OwnSpace()
  const fds = new InodeFds(new FdBudget(2000), new FileHandles(procFd), hosts, places, () => {}, space)
  const inodes = new InodeTable(fds, space)
  const look = (path: string) => {
    const name = new TextEncoder().encode(`${path}\0`)
    const st = new Int32Array(Statx.WORDS)
    const flags = path === '.' ? O_PATH : O_PATH | O_NOFOLLOW
    ok(native.statx(rootFd, name, 0, AT_SYMLINK_NOFOLLOW, STATX_MASK, st))
    return inodes.add(ok(native.openat(rootFd, name, 0, flags, 0)), st)
  }
  look('.')
  const sub = look('sub')
  const files = Array.from({ length: NAMES }, (_, n) => look(`sub/f${n}`))
  const share = { inodes, hosts, procFd }
  const prepared = new PreparedNames(share)
  const end = () => {
    prepared.drop()
    inodes.clear()
    native.close(rootFd)
    native.close(procFd)
  }
  return { share, directory, inodes, hosts, prepared, sub, files, end }
}

/** Lets everything be read that is due now. */
function step(prepared: PreparedNames): void {
  for (let n = 0; n < 10 * NAMES && prepared.nextDueMs() === 0; n++) prepared.progress()
}

/** The slots and names in the directories that are unchanged. */
function namesOf(prepared: PreparedNames): Map<number, string> {
  const names = new Map<number, string>()
  for (const { entries } of prepared.unchanged(() => new Uint8Array(0)))
    for (let at = 0; at < entries.length; at = Entry.endAt(entries, at)) {
      const nameAt = Entry.nameAt(at)
      const name = entries.subarray(nameAt, nameAt + Entry.nameBytes(entries, at))
      names.set(Entry.slot(entries, at), Buffer.from(name).toString())
    }
  return names
}

t.test('a directory that was changed a moment ago is read only later', async (t) => {
  const { prepared, files, end } = guestOf(t)
  prepared.begin()
  step(prepared)
  t.equal(namesOf(prepared).size, 0)
  t.ok(prepared.nextDueMs() > 0, 'it is looked at again')
  await sleep(SETTLED_MS)
  step(prepared)
  t.same(namesOf(prepared), new Map(files.map((slot, n) => [slot, `f${n}`])))
  t.equal(prepared.nextDueMs(), -1)
  end()
})

t.test('a change at any time after a directory was begun shows', async (t) => {
  const { directory, prepared, end } = guestOf(t)
  const sub = join(directory, 'sub')
  await sleep(SETTLED_MS)
  prepared.begin()
  prepared.progress()
  renameSync(join(sub, 'f1'), join(sub, 'g1'))
  step(prepared)
  t.equal(namesOf(prepared).size, 0, 'in the middle')
  await sleep(SETTLED_MS)
  prepared.begin()
  step(prepared)
  t.equal(namesOf(prepared).size, NAMES)
  renameSync(join(sub, 'f2'), join(sub, 'g2'))
  utimesSync(sub, 1, 1)
  t.equal(namesOf(prepared).size, 0, 'afterwards')
  end()
})

t.test('times that lie in the future, and file systems that may not tell, are not trusted', async (t) => {
  const { directory, inodes, hosts, prepared, sub, end } = guestOf(t)
  await sleep(SETTLED_MS)
  utimesSync(join(directory, 'sub'), 1, 0x7fff_ffff)
  await sleep(SETTLED_MS)
  prepared.begin()
  step(prepared)
  t.equal(namesOf(prepared).size, 0)
  utimesSync(join(directory, 'sub'), 1, 1)
  await sleep(SETTLED_MS)
  const host = hosts.of(inodes.deviceOf(sub), inodes.fdOf(sub))
  for (const life of [HandleLife.Unknown, HandleLife.AsCache]) {
    host.handleLife = life
    prepared.begin()
    step(prepared)
    t.equal(namesOf(prepared).size, 0)
    t.equal(prepared.nextDueMs(), -1)
  }
  end()
})

t.test('names take no more memory than they may', async (t) => {
  const { share, end } = guestOf(t)
  await sleep(SETTLED_MS)
  const entryBytes = 9
  const small = new PreparedNames(share, NAMES * entryBytes)
  small.begin()
  step(small)
  t.equal(namesOf(small).size, 0, 'a directory that does not fit is left out')
  const large = new PreparedNames(share, NAMES * (entryBytes + 3))
  large.begin()
  step(large)
  t.equal(namesOf(large).size, NAMES)
  large.drop()
  end()
})

t.test('what was begun can be dropped at any time', async (t) => {
  const { prepared, end } = guestOf(t)
  await sleep(SETTLED_MS)
  checkNoFdLeak(t, () => {
    prepared.begin()
    prepared.progress()
    prepared.begin()
    prepared.progress()
    prepared.end()
    t.equal(prepared.nextDueMs(), -1)
    prepared.progress()
  })
  t.equal(namesOf(prepared).size, 0)
  end()
})
