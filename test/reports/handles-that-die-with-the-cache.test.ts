/**
 * File handles of FUSE file systems (bindfs, sshfs, nested virtiofs) are valid only while the host has the inode in its
 * cache. An existing file never gets ESTALE: its inode keeps a descriptor, and when descriptors run out the guest gets
 * ENFILE.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { fetchBundle } from '../../vm/packages/bundle.js'
import { collectedProgram } from '../../vm/packages/collected-program.js'
import { isRoot } from '../support/device/cases.js'
import { Device, sleep } from '../support/device/device.js'
import { LiveDevice } from '../support/device/live-device.js'
import { migrate } from '../support/device/migrate.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(120_000)

const FILES = 900
const HIDDEN_TYPE = fileURLToPath(new URL('../../../test/support/host/hidden-type.c', import.meta.url))
const needs =
  !isRoot || !existsSync('/dev/fuse') ? 'needs root and /dev/fuse: it mounts a FUSE file system' : false

/** A directory as bindfs shows it, with `count` files. */
async function bindMount(t: Test, count: number): Promise<string> {
  const place = tempDir(t)
  const [below, above] = [join(place, 'below'), join(place, 'above')]
  for (const path of [below, above]) mkdirSync(path)
  for (let n = 0; n < count; n++) writeFileSync(join(below, `file-${n}`), `${n}`)
  const { command, args } = collectedProgram(await fetchBundle('bindfs'), 'bindfs')
  const bindfs: ChildProcess = spawn(command, [...args, '-f', below, above], { stdio: 'inherit' })
  const { ino } = statSync(above)
  for (let n = 0; statSync(above).ino === ino && statSync(above).dev === statSync(below).dev; n++) {
    if (n > 500) throw new Error('bindfs has not mounted')
    await sleep(20)
  }
  t.teardown(() => {
    spawnSync('umount', ['-l', above])
    bindfs.kill()
  })
  return above
}

/** Makes the host drop unused inodes from its cache. */
const dropCaches = () => writeFileSync('/proc/sys/vm/drop_caches', '2')

/** Looks files up until one is refused. Returns their node ids. */
function lookUpAll(fs: FuseGuest, count: number): { nodes: bigint[]; refused: string | undefined } {
  const nodes: bigint[] = []
  for (let n = 0; n < count; n++) {
    try {
      nodes.push(fs.lookup(ROOT_ID, `file-${n}`).nodeid)
    } catch (error) {
      return { nodes, refused: (error as Error).message }
    }
  }
  return { nodes, refused: undefined }
}

t.test(
  'more inodes than half of the descriptors: each is found after the host has dropped its cache',
  { skip: needs },
  async (t) => {
    const directory = await bindMount(t, FILES)
    const device = await Device.start(t, ['--rlimit-nofile', '1200'], { directory })
    const fs = mount(t, device)
    const { nodes } = lookUpAll(fs, FILES)
    t.equal(nodes.length, FILES)
    dropCaches()
    t.equal(nodes.filter((node) => fs.getattr(node).attr.nlink === 1).length, FILES)
    t.equal(fs.lookup(ROOT_ID, 'file-5').nodeid, nodes[5], 'and the guest knows it by the same node id')
    renameSync(join(directory, 'file-7'), join(directory, 'elsewhere'))
    dropCaches()
    t.equal(
      Buffer.from(fs.read(nodes[7]!, fs.open(nodes[7]!, 0).handle, 0, 10)).toString(),
      '7',
      'renamed on the host',
    )
    unlinkSync(join(directory, 'elsewhere'))
    fs.close()
  },
)

t.test('when descriptors run out, the error is ENFILE, and never ESTALE', { skip: needs }, async (t) => {
  const directory = await bindMount(t, FILES)
  const device = await Device.start(t, ['--rlimit-nofile', '512'], { directory })
  const fs = mount(t, device)
  const { nodes, refused: error } = lookUpAll(fs, FILES)
  t.equal(error, 'ENFILE')
  t.ok(nodes.length > 200, `${nodes.length} files`)
  dropCaches()
  for (const node of nodes) fs.getattr(node)
  for (const node of nodes.slice(0, 100)) fs.forget(node, 1n)
  fs.lookup(ROOT_ID, `file-${FILES - 1}`)
  t.ok(await device.waitForLog((line) => line.msg.startsWith('out of file descriptors')))
  fs.close()
})

/** Returns the launcher of a device that does not know the type of FUSE file systems. */
function unaware(t: Test): string[] {
  const library = join(tempDir(t), 'hidden-type.so')
  const args = [
    '-std=gnu11',
    '-O2',
    '-Wall',
    '-Werror',
    '-shared',
    '-fPIC',
    '-o',
    library,
    HIDDEN_TYPE,
    '-ldl',
  ]
  t.equal(spawnSync('cc', args, { stdio: 'inherit' }).status, 0)
  return [`LD_PRELOAD=${library}`]
}

/** Allows descriptors of all files, but for half of these only while inodes may do without. */
const FEW = ['--rlimit-nofile', '1200']

t.test(
  'an inode without a descriptor is found by the process that replaces the device',
  { skip: needs },
  async (t) => {
    const directory = await bindMount(t, FILES)
    const live = await LiveDevice.start(t, FEW, { directory, launcher: unaware(t) })
    const fs = mount(t, live.device)
    const { nodes } = lookUpAll(fs, FILES)
    const ofFiles = () => live.device.openFiles().filter((path) => path.includes('/file-')).length
    t.ok(ofFiles() < FILES, 'descriptors were closed')
    for (let n = 0; n < 2; n++) await live.replace()
    dropCaches()
    t.equal(nodes.filter((node) => fs.getattr(node).attr.nlink === 1).length, FILES)
    t.equal(ofFiles(), FILES, 'handles are not trusted any more')

    await live.replace()
    for (let n = 0; n < 40; n++) {
      writeFileSync(join(directory, `new-${n}`), '')
      fs.lookup(ROOT_ID, `new-${n}`)
    }
    for (let n = 0; n < FILES; n++) renameSync(join(directory, `file-${n}`), join(directory, `moved-${n}`))
    t.equal(fs.lookup(ROOT_ID, 'moved-5').nodeid, nodes[5])
    dropCaches()
    t.equal(nodes.filter((node) => fs.getattr(node).attr.nlink === 1).length, FILES, 'nor in the next one')
    fs.close()
  },
)

t.test('a guest moves by file handles, and some are dead', { skip: needs }, async (t) => {
  const directory = await bindMount(t, FILES)
  const args = [...FEW, '--migration-mode', 'file-handles', '--keep-alive']
  const options = { directory, launcher: unaware(t) }
  const [from, to] = [await Device.start(t, args, options), await Device.start(t, args, options)]
  const start = () => {
    const fs = mount(t, from)
    return { fs, nodes: lookUpAll(fs, FILES).nodes }
  }
  const first = start()
  t.throws(() => migrate(first.fs, to, dropCaches), 'the source does not know it, and is to go on')
  await to.waitForLog(({ reason }) => /cannot be opened by file handle.*guest-error/.test(reason ?? ''))
  first.fs.close()

  const { fs, nodes } = start()
  dropCaches()
  for (const node of nodes.slice(0, 100)) fs.getattr(node)
  migrate(fs, to, dropCaches)
  t.equal(nodes.filter((node) => fs.getattr(node).attr.nlink === 1).length, FILES, 'the source knows it')
  fs.close()
})

t.test('--inode-file-handles mandatory is refused there', { skip: needs }, async (t) => {
  const directory = await bindMount(t, 1)
  await t.rejects(Device.start(t, ['--inode-file-handles', 'mandatory'], { directory }), /mandatory asks for/)
})

t.test(
  'a file system of the host that the guest has forgotten can be unmounted',
  { skip: needs },
  async (t) => {
    const device = await Device.start(t, ['--rlimit-nofile', '512'])
    const below = join(device.directory, 'below')
    mkdirSync(below)
    t.equal(spawnSync('mount', ['-t', 'tmpfs', 'none', below]).status, 0)
    t.teardown(() => spawnSync('umount', ['-l', below]))
    for (let n = 0; n < 700; n++) writeFileSync(join(below, `file-${n}`), '')
    const fs = mount(t, device)
    for (const round of [1, 2]) {
      const directory = fs.lookup(ROOT_ID, 'below').nodeid
      const nodes = Array.from({ length: 700 }, (_, n) => fs.lookup(directory, `file-${n}`).nodeid)
      t.equal(fs.getattr(nodes[0]!).attr.size, 0n, `round ${round}`)
      fs.forgetAll()
    }
    t.equal(spawnSync('umount', [below], { stdio: 'inherit' }).status, 0)
    t.equal(spawnSync('mount', ['-t', 'tmpfs', 'none', below]).status, 0)
    writeFileSync(join(below, 'other'), 'text')
    t.equal(fs.lookup(fs.lookup(ROOT_ID, 'below').nodeid, 'other').attr.size, 4n, 'another one in its place')
    refused(t, 'ENOENT', () => fs.lookup(fs.lookup(ROOT_ID, 'below').nodeid, 'file-0'))
    fs.forgetAll()
  },
)
