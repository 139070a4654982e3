/**
 * A guest removes a name whose inode has lost its descriptor (--rlimit-nofile is small). The guest may still refer to the
 * inode without having it open: by an O_PATH descriptor, a working directory, a bind mount or a watch. The inode lives on,
 * as on a file system of the kernel.
 */
import { spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device, type DeviceOptions, type Storage } from '../support/device/device.js'
import { LiveDevice } from '../support/device/live-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { errorOf, refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

const O_RDWR = 2
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
/** Fewer are refused. Inodes may have half of them. */
const FEW_DESCRIPTORS = ['--rlimit-nofile', '512']
const OTHERS = 700

const skip = !isRoot && 'needs root: it opens file handles'

t.setTimeout(120_000)

/** A device with few descriptors, and more files than it may hold open. */
async function start(t: Test, options: DeviceOptions = {}): Promise<Device> {
  const device = await Device.start(t, FEW_DESCRIPTORS, options)
  makeOthers(device.directory)
  return device
}

function makeOthers(directory: string): void {
  mkdirSync(join(directory, 'others'))
  for (let n = 0; n < OTHERS; n++) writeFileSync(join(directory, 'others', `${n}`), '')
}

/** Returns true if the device has a descriptor of the file at `path`. */
function holds(device: Device, path: string): boolean {
  const { dev, ino } = statSync(path)
  const descriptors = `/proc/${device.pid}/fd`
  return readdirSync(descriptors).some((fd) => {
    const st = statSync(join(descriptors, fd), { throwIfNoEntry: false })
    return st?.dev === dev && st.ino === ino
  })
}

/** Looks so many other files up that what was used before has no descriptor any more. */
function lookOthersUp(fs: FuseGuest): void {
  const { nodeid } = fs.lookup(ROOT_ID, 'others')
  for (let round = 0; round < 2; round++)
    for (let n = 0; n < OTHERS; n++) fs.getattr(fs.lookup(nodeid, `${n}`).nodeid)
}

/** Looks `name` up and makes the device close its descriptor. Returns the node id. */
function lookUpAndEvict(t: Test, device: Device, fs: FuseGuest, name: string): bigint {
  const { nodeid } = fs.lookup(ROOT_ID, name)
  lookOthersUp(fs)
  t.notOk(holds(device, join(device.directory, name)), `${name}: without a descriptor`)
  return nodeid
}

/** Reads a file that has no name any more. Linux asks twice for one that it did not look up. */
function readNameless(fs: FuseGuest, node: bigint): string {
  errorOf(() => fs.open(node, O_RDWR))
  const { handle } = fs.open(node, O_RDWR)
  const text = Buffer.from(fs.read(node, handle, 0, 100)).toString()
  fs.release(node, handle)
  return text
}

for (const storage of ['memory', 'disk'] satisfies Storage[]) {
  t.test(
    `${storage}: what UNLINK, RMDIR and RENAME remove lives while the guest knows it`,
    { skip },
    async (t) => {
      const device = await start(t, { storage })
      const path = (name: string) => join(device.directory, name)
      for (const name of ['unlinked', 'replaced', 'replacing', 'replaced2', 'replacing2'])
        writeFileSync(path(name), name)
      for (const name of ['removed', 'over', 'under']) mkdirSync(path(name))
      const fs = mount(t, device)
      const nodes = ['unlinked', 'replaced', 'replaced2', 'removed', 'under'].map(
        (name) => fs.lookup(ROOT_ID, name).nodeid,
      )
      lookOthersUp(fs)
      for (const name of ['unlinked', 'replaced', 'replaced2', 'removed', 'under'])
        t.notOk(holds(device, path(name)), `${name}: without a descriptor`)
      fs.unlink(ROOT_ID, 'unlinked')
      fs.rename(ROOT_ID, 'replacing', ROOT_ID, 'replaced')
      fs.rename2(ROOT_ID, 'replacing2', ROOT_ID, 'replaced2', 0)
      fs.rmdir(ROOT_ID, 'removed')
      fs.rename(ROOT_ID, 'over', ROOT_ID, 'under')
      for (const when of ['at once', 'after many other inodes']) {
        t.strictSame(
          nodes.map((node) => errorOf(() => fs.getattr(node))),
          nodes.map(() => 'no error'),
          when,
        )
        t.equal(readNameless(fs, nodes[0]!), 'unlinked')
        t.equal(readNameless(fs, nodes[1]!), 'replaced')
        t.equal(readNameless(fs, nodes[2]!), 'replaced2')
        lookOthersUp(fs)
      }
      fs.forgetAll()
    },
  )
}

t.test('a file with another hard link needs no descriptor until its last name goes', { skip }, async (t) => {
  const device = await start(t)
  writeFileSync(join(device.directory, 'one'), 'text')
  linkSync(join(device.directory, 'one'), join(device.directory, 'two'))
  const fs = mount(t, device)
  const node = lookUpAndEvict(t, device, fs, 'one')
  fs.unlink(ROOT_ID, 'one')
  t.notOk(holds(device, join(device.directory, 'two')))
  t.equal(fs.lookup(ROOT_ID, 'two').nodeid, node)
  lookOthersUp(fs)
  fs.unlink(ROOT_ID, 'two')
  lookOthersUp(fs)
  t.equal(fs.getattr(node).attr.nlink, 0)
  t.equal(readNameless(fs, node), 'text')
})

t.test('a name that stays opens nothing', { skip }, async (t) => {
  const device = await start(t)
  for (const name of ['one', 'two']) writeFileSync(join(device.directory, name), name)
  mkdirSync(join(device.directory, 'full', 'below'), { recursive: true })
  const fs = mount(t, device)
  const [one, two, full] = ['one', 'two', 'full'].map((name) => fs.lookup(ROOT_ID, name).nodeid)
  lookOthersUp(fs)
  refused(t, 'EEXIST', () => fs.rename2(ROOT_ID, 'one', ROOT_ID, 'two', RENAME_NOREPLACE))
  fs.rename2(ROOT_ID, 'one', ROOT_ID, 'two', RENAME_EXCHANGE)
  for (const name of ['one', 'two', 'full']) t.notOk(holds(device, join(device.directory, name)), name)
  refused(t, 'ENOTEMPTY', () => fs.rmdir(ROOT_ID, 'full'))
  lookOthersUp(fs)
  t.notOk(holds(device, join(device.directory, 'full')), 'a removal that failed keeps no descriptor')
  t.strictSame(
    [one, two, full].map((node) => fs.getattr(node!).attr.ino),
    ['two', 'one', 'full'].map((name) => BigInt(statSync(join(device.directory, name)).ino)),
  )
})

t.test('files without a name keep their descriptors', { skip }, async (t) => {
  const device = await start(t)
  const fs = mount(t, device)
  const made = fs.tmpfile(ROOT_ID, O_RDWR)
  fs.write(made.nodeid, made.handle, 0, Buffer.from('temporary'))
  fs.release(made.nodeid, made.handle)
  const { nodeid, handle } = fs.create(ROOT_ID, 'unlinked', O_RDWR)
  fs.write(nodeid, handle, 0, Buffer.from('unlinked'))
  fs.unlink(ROOT_ID, 'unlinked')
  fs.release(nodeid, handle)
  lookOthersUp(fs)
  t.equal(readNameless(fs, made.nodeid), 'temporary')
  t.equal(readNameless(fs, nodeid), 'unlinked')
  const held = device.fdCount()
  fs.forget(made.nodeid, 1n)
  fs.forget(nodeid, 1n)
  fs.getattr(ROOT_ID)
  t.equal(device.fdCount(), held - 2, 'until the guest forgets them')
})

t.test(
  'without a descriptor left, the removal fails with ENFILE, and nothing is lost',
  { skip },
  async (t) => {
    const device = await start(t)
    for (const name of ['file', 'other']) writeFileSync(join(device.directory, name), name)
    mkdirSync(join(device.directory, 'directory'))
    const fs = mount(t, device)
    const directory = fs.lookup(ROOT_ID, 'directory').nodeid
    const node = lookUpAndEvict(t, device, fs, 'file')
    const others = fs.lookup(ROOT_ID, 'others').nodeid
    const opened: (readonly [bigint, bigint])[] = []
    const open = (n: number) => {
      const { nodeid } = fs.lookup(others, `${n}`)
      opened.push([nodeid, fs.open(nodeid, O_RDWR).handle])
    }
    const openAll = () => {
      for (let n = 0; n < OTHERS; n++) open(n)
    }
    refused(t, 'ENFILE', openAll)
    refused(t, 'ENFILE', () => fs.unlink(ROOT_ID, 'file'))
    refused(t, 'ENFILE', () => fs.rename(ROOT_ID, 'other', ROOT_ID, 'file'))
    refused(t, 'ENFILE', () => fs.rmdir(ROOT_ID, 'directory'))
    for (const [nodeid, handle] of opened.splice(0, 10)) fs.release(nodeid, handle)
    fs.unlink(ROOT_ID, 'file')
    fs.rmdir(ROOT_ID, 'directory')
    t.equal(fs.getattr(node).attr.nlink, 0)
    t.ok(fs.getattr(directory))
    t.ok(await device.waitForLog((line) => line.msg.startsWith('out of file descriptors')))
  },
)

t.test('a name that goes by another mount of its directory', { skip }, async (t) => {
  const device = await start(t)
  for (const name of ['one', 'other']) mkdirSync(join(device.directory, name))
  const file = join(device.directory, 'one', 'file')
  writeFileSync(file, 'text')
  const bound = join(device.directory, 'other')
  t.equal(spawnSync('mount', ['--bind', join(device.directory, 'one'), bound]).status, 0)
  t.teardown(() => spawnSync('umount', ['-l', bound]))
  const fs = mount(t, device)
  const nodes = ['one', 'other'].map((name) => fs.lookup(fs.lookup(ROOT_ID, name).nodeid, 'file').nodeid)
  lookOthersUp(fs)
  t.notOk(holds(device, file))
  fs.unlink(fs.lookup(ROOT_ID, 'other').nodeid, 'file')
  lookOthersUp(fs)
  t.strictSame(
    nodes.map((node) => readNameless(fs, node)),
    ['text', 'text'],
  )
  fs.forgetAll()
})

t.test('another process of the device takes over what has no name any more', { skip }, async (t) => {
  const live = await LiveDevice.start(t, FEW_DESCRIPTORS)
  const { device } = live
  makeOthers(device.directory)
  for (const name of ['before', 'after']) writeFileSync(join(device.directory, name), name)
  const fs = mount(t, device)
  const nodes = ['before', 'after'].map((name) => fs.lookup(ROOT_ID, name).nodeid)
  lookOthersUp(fs)
  fs.unlink(ROOT_ID, 'before')
  await live.replace()
  t.notOk(holds(device, join(device.directory, 'after')))
  fs.unlink(ROOT_ID, 'after')
  lookOthersUp(fs)
  t.strictSame(
    nodes.map((node) => readNameless(fs, node)),
    ['before', 'after'],
  )
})

t.test('an overlay of the host, whose file handles may not last', { skip }, async (t): Promise<void> => {
  const place = tempDir(t)
  t.equal(spawnSync('mount', ['-t', 'tmpfs', 'none', place]).status, 0)
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(place, name))
  for (const name of ['unlinked', 'linked', 'moved']) writeFileSync(join(place, 'lower', name), name)
  const paths = `lowerdir=${place}/lower,upperdir=${place}/upper,workdir=${place}/work`
  const directory = join(place, 'merged')
  const options = `${paths},index=on,nfs_export=on`
  const { status } = spawnSync('mount', ['-t', 'overlay', 'none', '-o', options, directory])
  t.teardown(() => spawnSync('umount', ['-l', directory, place]))
  t.equal(status, 0, 'the host has overlays with file handles')
  const device = await start(t, { directory })
  linkSync(join(directory, 'linked'), join(directory, 'second'))
  const fs = mount(t, device)
  const nodes = ['unlinked', 'linked', 'moved'].map((name) => fs.lookup(ROOT_ID, name).nodeid)
  lookOthersUp(fs)
  for (const name of ['unlinked', 'linked', 'moved']) t.notOk(holds(device, join(directory, name)), name)
  fs.unlink(ROOT_ID, 'unlinked')
  fs.unlink(ROOT_ID, 'linked')
  fs.rename(ROOT_ID, 'moved', ROOT_ID, 'elsewhere')
  lookOthersUp(fs)
  t.strictSame(
    nodes.map((node) => readNameless(fs, node)),
    ['unlinked', 'linked', 'moved'],
  )
  fs.forgetAll()
})

t.test('a subvolume of btrfs', { skip }, async (t) => {
  const place = tempDir(t)
  const [image, directory] = [join(place, 'image'), join(place, 'mounted')]
  mkdirSync(directory)
  const isThere = [
    ['truncate', '-s', '128M', image],
    ['mkfs.btrfs', '-q', image],
    ['mount', '-o', 'loop', image, directory],
    ['btrfs', '-q', 'subvolume', 'create', join(directory, 'subvolume')],
  ].every(([command, ...args]) => spawnSync(command!, args).status === 0)
  t.teardown(() => spawnSync('umount', ['-l', directory]))
  if (!isThere) {
    t.pass('btrfs', { skip: 'this host has no btrfs, or no tools for it' })
    return
  }
  const device = await start(t, { directory })
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'subvolume')
  fs.rmdir(ROOT_ID, 'subvolume')
  lookOthersUp(fs)
  t.ok(fs.getattr(nodeid))
  fs.forgetAll()
})
