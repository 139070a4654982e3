/** A share that is one file: a directory with that file in it, and nothing else of the host. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { errorOf, refused } from '../../support/fuse/refusals.js'

const [O_RDONLY, O_RDWR] = [0, 2]

const directory = mkdtempSync(join(tmpdir(), 'vfs-single-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const NAME = 'a=b c.txt'
const path = join(directory, NAME)
writeFileSync(path, 'text')
writeFileSync(join(directory, 'beside'), 'secret')
mkdirSync(join(directory, 'sub'))

t.test('the file can be read and written; nothing else is there, and nothing can be made', async (t) => {
  const device = await Device.start(t, [], { directory: path, sandbox: 'namespace' })
  const fs = mount(t, device)
  const { handle: listing } = fs.opendir(ROOT_ID)
  t.same(
    fs
      .readdir(ROOT_ID, listing, 0)
      .map(({ name }) => name)
      .sort(),
    ['.', '..', NAME],
  )
  const { nodeid, attr } = fs.lookup(ROOT_ID, NAME)
  t.equal(attr.mode & 0o170000, 0o100000)
  const { handle } = fs.open(nodeid, O_RDWR)
  t.equal(Buffer.from(fs.read(nodeid, handle, 0, 10)).toString(), 'text')
  fs.write(nodeid, handle, 4, Uint8Array.from(Buffer.from(' and more')))
  t.equal(readFileSync(path, 'utf8'), 'text and more')
  for (const name of ['beside', 'sub']) refused(t, 'ENOENT', () => fs.lookup(ROOT_ID, name))
  refused(t, 'EROFS', () => fs.create(ROOT_ID, 'new', O_RDWR))
  refused(t, 'EROFS', () => fs.mkdir(ROOT_ID, 'new'))
  t.ok(['EBUSY', 'EROFS'].includes(errorOf(() => fs.unlink(ROOT_ID, NAME))))
  t.ok(['EBUSY', 'EROFS', 'EXDEV'].includes(errorOf(() => fs.rename(ROOT_ID, NAME, ROOT_ID, 'other'))))
  t.ok(['EXDEV', 'EROFS'].includes(errorOf(() => fs.link(nodeid, ROOT_ID, 'other'))))
})

t.test('--readonly holds for a single file', async (t) => {
  const device = await Device.start(t, ['--readonly'], { directory: path, sandbox: 'namespace' })
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, NAME)
  refused(t, 'EROFS', () => fs.open(nodeid, O_RDWR))
  fs.open(nodeid, O_RDONLY)
})

t.test('sandboxes that would show its neighbours are refused', async (t) => {
  for (const sandbox of ['none', 'chroot']) {
    const args = ['--shared-dir', path, '--socket-path', join(directory, 'socket'), '--sandbox', sandbox]
    const { status, stderr } = runProgram(args)
    t.equal(status, 2)
    t.match(stderr, /which is a file: use namespace/)
  }
})
