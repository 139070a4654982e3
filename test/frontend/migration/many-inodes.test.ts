/** A guest moves that knows more inodes than its devices may have descriptors: every inode stays the same file. */
import { linkSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import {
  DIRECTORIES,
  devicesWithFiles,
  expectSame,
  FEW_DESCRIPTORS,
  FILES,
  type Known,
  lookAtAll,
  makeFiles,
} from '../../support/device/known-files.js'
import { migrate } from '../../support/device/migrate.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(300_000)

/** More names than a source reads without finding anything. */
const STRANGERS = 12_000

t.test('there and back, with links and special files, and what the host did meanwhile', async (t) => {
  const { from, to } = await devicesWithFiles(t)
  const { directory } = from
  linkSync(join(directory, 'd0', 'f0'), join(directory, 'd1', 'other-name'))
  symlinkSync('f1', join(directory, 'd0', 'link'))
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  expectSame(t, fs, known)
  // Names that the guest has not seen, a directory that it does not know, and one that has another name now.
  mkdirSync(join(directory, 'unknown'))
  renameSync(join(directory, 'd0', 'f7'), join(directory, 'd0', 'renamed'))
  renameSync(join(directory, 'd0', 'f8'), join(directory, 'unknown', 'elsewhere'))
  renameSync(join(directory, 'd2'), join(directory, 'unknown', 'd2'))
  for (const device of [to, from, to]) {
    migrate(fs, device)
    expectSame(t, fs, known)
  }
  const { nodeid } = fs.lookup(fs.lookup(ROOT_ID, 'd0').nodeid, 'renamed')
  t.equal(nodeid, known.get('d0/f7')?.nodeid, 'a lookup finds the inode that the guest has')
  const handle = fs.open(known.get('d1/f9')!.nodeid, 0).handle
  t.equal(Buffer.from(fs.read(known.get('d1/f9')!.nodeid, handle, 0n, 10)).toString(), '1-9')
  fs.forgetAll()
})

t.test('a deleted file whose inode number and name another one has is never that one', async (t) => {
  const { from, to } = await devicesWithFiles(t)
  const { directory } = from
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  const lost = new Map<string, Known>()
  for (let n = 0; n < FILES; n++) {
    const name = `d0/f${n}`
    rmSync(join(directory, name))
    writeFileSync(join(directory, name), 'another file')
    lost.set(name, known.get(name)!)
    known.delete(name)
  }
  const again = [...lost].filter(([name, { ino }]) => BigInt(statSync(join(directory, name)).ino) === ino)
  t.comment(`${again.length} of ${lost.size} have the inode number of the file before them`)
  migrate(fs, to)
  expectSame(t, fs, known)
  for (const { nodeid } of lost.values()) refused(t, 'ESTALE', () => fs.getattr(nodeid))
})

t.test('by file handle: inodes that the source has lost already do not fail the migration', async (t) => {
  if (!isRoot) {
    t.pass('by file handle', { skip: 'needs root: CAP_DAC_READ_SEARCH' })
    return
  }
  const { from, to } = await devicesWithFiles(t, ['--migration-mode', 'file-handles'])
  const { directory } = from
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  const removed = new Map<string, Known>()
  // The files of the last directory were the last to be looked up: some have a descriptor.
  for (const d of ['d0', `d${DIRECTORIES - 1}`]) {
    for (let n = 0; n < FILES; n++) {
      const name = `${d}/f${n}`
      rmSync(join(directory, name))
      removed.set(name, known.get(name)!)
      known.delete(name)
    }
  }
  const fates = () => [...removed].map(([name, { nodeid }]) => [name, outcome(() => fs.getattr(nodeid))])
  const before = fates()
  const gone = before.filter(([, fate]) => fate === 'ESTALE').length
  t.ok(gone > 0 && gone < removed.size, `${gone} of ${removed.size} rested when they were removed`)
  migrate(fs, to)
  expectSame(t, fs, known)
  t.same(fates(), before, 'what was lost stays lost, and what was open stays')
  await to.waitForLog(({ msg }) => msg === 'migration lost inodes that the source had lost, too')
})

t.test(
  'by file handle: a file system that is not mounted at the destination fails the migration',
  async (t) => {
    const directory = tempDir(t)
    const sub = join(directory, 'sub')
    const disk = DiskImage.mount(t, sub, join(tempDir(t), 'image'))
    if (disk === undefined) {
      t.pass('by file handle', { skip: 'needs root, mkfs.ext4, fsfreeze and a loop device' })
      return
    }
    makeFiles(sub)
    const options = [...FEW_DESCRIPTORS, '--migration-mode', 'file-handles']
    const from = await Device.start(t, options, { directory })
    // Runs before node, which comes as $0 with its arguments: the share is the third of them.
    const launcher = ['unshare', '-m', 'sh', '-c', 'umount "$3/sub" && exec "$0" "$@"']
    const to = await Device.start(t, options, { directory, launcher })
    const fs = mount(t, from)
    const known = lookAtAll(fs, sub, fs.lookup(ROOT_ID, 'sub').nodeid)
    // After as many others, all of these rest.
    mkdirSync(join(directory, 'others'))
    makeFiles(join(directory, 'others'))
    lookAtAll(fs, join(directory, 'others'), fs.lookup(ROOT_ID, 'others').nodeid)
    t.throws(() => migrate(fs, to), { code: 'BAD_REQUEST' })
    await to.waitForLog(({ reason = '' }) => /^inodes that cannot be opened by file handle/.test(reason))
    t.ok(known.size > 0)
  },
)

/** Returns "done", or the name of the error of a request. */
function outcome(request: () => unknown): string {
  try {
    request()
    return 'done'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

t.test('few inodes in a large directory are found without reading all of it', async (t) => {
  const { from, to } = await devicesWithFiles(t)
  const { directory } = from
  for (let n = 0; n < STRANGERS; n++) writeFileSync(join(directory, 'd0', `stranger-${n}`), '')
  const fs = mount(t, from)
  const known = new Map<string, Known>()
  for (let d = 0; d < DIRECTORIES; d++) {
    const parent = fs.lookup(ROOT_ID, `d${d}`).nodeid
    for (let n = 0; n < FILES; n++) {
      const { nodeid, attr } = fs.lookup(parent, `f${n}`)
      known.set(`d${d}/f${n}`, { nodeid, ino: attr.ino })
    }
  }
  migrate(fs, to)
  expectSame(t, fs, known)
})

t.test('an inode with a path that is too long is lost, and no other one', async (t) => {
  const { from, to } = await devicesWithFiles(t, ['--migration-on-error', 'guest-error'])
  const fs = mount(t, from)
  // The kernel still tells the path of the directory: 15 * 251 + 130 bytes, and those of the shared directory's own.
  const names = [...Array.from({ length: 15 }, () => 'n'.repeat(250)), 'n'.repeat(130)]
  const chain = [ROOT_ID]
  for (const name of names) chain.push(fs.mkdir(chain.at(-1)!, name, 0o755).nodeid)
  const deep = fs.mknod(chain.at(-1)!, 'f'.repeat(250), 0o100644).nodeid
  const known = lookAtAll(fs, from.directory)
  migrate(fs, to)
  expectSame(t, fs, known)
  refused(t, 'ESTALE', () => fs.getattr(deep))
  // Nobody could remove it by its path.
  fs.rename(chain[8]!, names[8]!, ROOT_ID, 'shorter')
})

t.test('a handle in a state opens no file but the one at its path', async (t) => {
  const { from, to } = await devicesWithFiles(t)
  const { directory } = from
  const fs = mount(t, from)
  const known = lookAtAll(fs, directory)
  t.throws(
    () =>
      migrate(fs, to, () => {
        renameSync(join(directory, 'd3', 'f3'), join(directory, 'd3', 'moved'))
        writeFileSync(join(directory, 'd3', 'f3'), 'in its place')
      }),
    { code: 'BAD_REQUEST' },
  )
  await to.waitForLog(({ reason = '' }) => /^inodes with another file at their paths: \/d3\/f3/.test(reason))
  t.equal(known.size, DIRECTORIES * (FILES + 1))
})
