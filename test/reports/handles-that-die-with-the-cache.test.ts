/**
 * File handles of FUSE file systems (bindfs, sshfs, nested virtiofs) are valid only while the host has the inode in its
 * cache. An existing file never gets ESTALE: its inode keeps a descriptor, and when descriptors run out the guest gets
 * ENFILE.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fetchBundle } from '../../vm/packages/bundle.js'
import { collectedProgram } from '../../vm/packages/collected-program.js'
import { isRoot } from '../support/device/cases.js'
import { Device, sleep } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(120_000)

const FILES = 900
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
