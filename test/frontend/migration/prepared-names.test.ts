/**
 * A source reads the names of its guest's inodes while the guest still runs. What the host and the guest change after that is
 * found all the same.
 */
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DirtyPages, saveState } from 'vhost-user-ts/frontend'
import { processTree, wholeCpuUs } from '../../../vm/measure/processes.js'
import { isRoot } from '../../support/device/cases.js'
import type { Device } from '../../support/device/device.js'
import {
  devicesWithFiles,
  expectSame,
  FILES,
  type Known,
  lookAtAll,
} from '../../support/device/known-files.js'
import { migrate, resume, suspend } from '../../support/device/migrate.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

t.setTimeout(300_000)

/** Directories that have just been made are read a moment later: see PreparedNames. */
const SETTLED_MS = 1500
const QUIET_MS = 200
const MANY = 20_000

/** Begins a migration, and waits until the source has read what it can. */
async function prepare(fs: FuseGuest, source: Device): Promise<DirtyPages> {
  const log = new DirtyPages(fs.frontend)
  await sleep(SETTLED_MS)
  const spent = () => wholeCpuUs(processTree(source.pid))
  for (let before = -1, now = spent(); now !== before; ) {
    before = now
    await sleep(QUIET_MS)
    now = spent()
  }
  return log
}

async function thereAndBack(t: Test, sandbox: 'none' | 'namespace'): Promise<void> {
  const { from, to } = await devicesWithFiles(t, [], sandbox)
  const { directory } = from
  const at = (name: string) => join(directory, name)
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  const removed: Known[] = []
  const forget = (name: string) => {
    removed.push(known.get(name)!)
    known.delete(name)
  }
  for (const [n, source] of [from, to, from].entries()) {
    await prepare(fs, source)
    mkdirSync(at(`unknown${n}`))
    renameSync(at(`d0/f${10 * n + 1}`), at(`d0/renamed${n}`))
    renameSync(at(`d0/f${10 * n + 2}`), at(`unknown${n}/elsewhere`))
    renameSync(at(n === 0 ? 'd2' : `unknown${n - 1}/d2`), at(`unknown${n}/d2`))
    linkSync(at(`d0/f${10 * n + 3}`), at(`d0/linked${n}`))
    rmSync(at(`d0/f${10 * n + 3}`))
    // Each of these may get the inode number of the one that was just removed.
    for (let k = 4; k < 9; k++) {
      const name = `d0/f${10 * n + k}`
      rmSync(at(name))
      writeFileSync(at(name), 'another file')
      forget(name)
    }
    fs.rename(known.get('d1')!.nodeid, `f${n}`, ROOT_ID, `moved${n}`)
    const later = fs.mkdir(known.get('d3')!.nodeid, `later${n}`, 0o755)
    known.set(`d3/later${n}`, { nodeid: later.nodeid, ino: later.attr.ino })
    migrate(fs, source === from ? to : from)
    expectSame(t, fs, known)
    for (const { nodeid } of removed) refused(t, 'ESTALE', () => fs.getattr(nodeid))
  }
  t.equal(fs.lookup(ROOT_ID, 'moved0').nodeid, known.get('d1/f0')?.nodeid)
}

t.test('there and back, with what host and guest change after the names have been read', (t) =>
  thereAndBack(t, 'none'),
)

t.test('the same in a sandbox, where the main thread serves the share', async (t) => {
  if (isRoot) await thereAndBack(t, 'namespace')
  else t.pass('in a sandbox', { skip: 'needs root: file handles in a sandbox' })
})

t.test('names that the guest looks up after they have been read', async (t) => {
  const { from, to } = await devicesWithFiles(t)
  const fs = mount(t, from)
  const known = new Map<string, Known>()
  const look = (d: number, begin: number, end: number) => {
    const { nodeid: parent } = fs.lookup(ROOT_ID, `d${d}`)
    for (let n = begin; n < end; n++) {
      const { nodeid, attr } = fs.lookup(parent, `f${n}`)
      known.set(`d${d}/f${n}`, { nodeid, ino: attr.ino })
    }
  }
  look(0, 0, FILES)
  look(1, 0, FILES / 2)
  await prepare(fs, from)
  look(1, FILES / 2, FILES)
  look(2, 0, FILES)
  for (let n = 0; n < FILES / 2; n++) fs.forget(known.get(`d0/f${n}`)!.nodeid, 1n)
  for (let n = 0; n < FILES / 2; n++) known.delete(`d0/f${n}`)
  // New inodes take the slots of those.
  look(3, 0, FILES)
  migrate(fs, to)
  expectSame(t, fs, known)
})

t.test('a migration that is cancelled, and a guest that leaves, leave nothing behind', async (t) => {
  const { from } = await devicesWithFiles(t)
  const { directory } = from
  mkdirSync(join(directory, 'many'))
  for (let n = 0; n < MANY; n++) writeFileSync(join(directory, 'many', `${n}`), '')
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  // In the middle of a directory.
  await sleep(SETTLED_MS)
  const reading = () => {
    try {
      return from.openFlagsOf('many').length
    } catch {
      // A descriptor was closed meanwhile.
      return -1
    }
  }
  new DirtyPages(fs.frontend).end()
  t.equal(await settles(reading, 0), true, 'cancelled')
  const log = await prepare(fs, from)
  t.equal(reading(), 0, 'at the end')
  log.end()
  const bases = suspend(fs)
  t.ok(saveState(fs.frontend).length > 0, 'a snapshot')
  resume(fs, bases)
  expectSame(t, fs, known)
  new DirtyPages(fs.frontend)
  fs.close()
  t.equal(await settles(reading, 0), true, 'the guest has left')
})

async function settles(value: () => number, wanted: number): Promise<boolean> {
  for (let n = 0; n < 100; n++) {
    if (value() === wanted) return true
    await sleep(20)
  }
  return false
}
