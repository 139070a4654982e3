/** libkrun issue 329: names with "/" and ".." in operations other than LOOKUP led out of the share. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest, Name } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'

const O_RDWR = 2
const badNames: readonly Name[] = [
  '',
  '.',
  '..',
  '/',
  '//',
  '/etc',
  '/etc/passwd',
  '../outside',
  'sub/file',
  'sub/',
  './file',
  '../../../../../../etc/passwd',
  'sub/..',
  'file/',
  'file\0',
  'fi\0le',
  Uint8Array.of(0x2e, 0x2e, 0x2f),
  `${'n'.repeat(254)}/`,
]

/** Every operation that takes a name, with the place of the name in its arguments. */
const operations: Record<string, (fs: FuseGuest, node: bigint, name: Name) => unknown> = {
  LOOKUP: (fs, node, name) => fs.lookup(node, name),
  UNLINK: (fs, node, name) => fs.unlink(node, name),
  RMDIR: (fs, node, name) => fs.rmdir(node, name),
  MKDIR: (fs, node, name) => fs.mkdir(node, name),
  MKNOD: (fs, node, name) => fs.mknod(node, name, 0o100644),
  CREATE: (fs, node, name) => fs.create(node, name, O_RDWR),
  SYMLINK: (fs, node, name) => fs.symlink(node, name, 'target'),
  LINK: (fs, node, name) => fs.link(fs.lookup(node, 'file').nodeid, node, name),
  'RENAME from': (fs, node, name) => fs.rename(node, name, node, 'new'),
  'RENAME to': (fs, node, name) => fs.rename(node, 'file', node, name),
  'RENAME2 from': (fs, node, name) => fs.rename2(node, name, node, 'new', 0),
  'RENAME2 to': (fs, node, name) => fs.rename2(node, 'file', node, name, 0),
}

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()
const path = `${device.directory}/inside`
mkdirSync(`${path}/sub`, { recursive: true })
writeFileSync(`${device.directory}/outside`, 'outside')
writeFileSync(`${path}/file`, 'file')
writeFileSync(`${path}/sub/file`, 'sub')

for (const [operation, attempt] of Object.entries(operations)) {
  t.test(
    `${operation} takes one sound component: anything else is EINVAL, and nothing happens`,
    async (t) => {
      const fs = mount(t, device)
      const inside = fs.lookup(ROOT_ID, 'inside').nodeid
      for (const node of [inside, ROOT_ID]) {
        if (node === ROOT_ID) writeFileSync(`${device.directory}/file`, '')
        for (const name of badNames.filter((name) => operation !== 'LOOKUP' || name !== '.'))
          refused(t, 'EINVAL', () => attempt(fs, node, name), JSON.stringify(String(name)))
      }
      t.same(readdirSync(path).sort(), ['file', 'sub'])
      t.same(readdirSync(device.directory).sort(), ['file', 'inside', 'outside'])
      t.equal(readFileSync(`${device.directory}/outside`, 'utf8'), 'outside')
      t.notOk(existsSync(`${device.directory}/../outside`))
      fs.close()
    },
  )
}

t.test('unusual but legal names are accepted', async (t) => {
  const fs = mount(t, device)
  const inside = fs.lookup(ROOT_ID, 'inside').nodeid
  for (const name of ['...', '..a', '.a', ' ', '\\', '-', '~', '*', '..\\file', '\n']) {
    fs.mkdir(inside, name)
    t.ok(fs.lookup(inside, name).nodeid > 1n, JSON.stringify(name))
    fs.rmdir(inside, name)
  }
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertLogged(t, device, 'bad name')
  await assertSurvival(t, device, heldBefore)
})
