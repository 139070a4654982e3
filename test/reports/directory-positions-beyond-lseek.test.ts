/**
 * NFS servers may give a directory's entries positions beyond 2^63. getdents64 returns them, and lseek refuses them. Each
 * entry is listed once, from every position.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device, sleep } from '../support/device/device.js'
import { LiveDevice } from '../support/device/live-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import type { Dirent } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

const SOURCE = fileURLToPath(new URL('../../../test/support/host/high-cookies.c', import.meta.url))
const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror']
const FILES = 5_000
const EVERY = 97

const skip = (!isRoot || !existsSync('/dev/fuse')) && 'needs root and /dev/fuse: it mounts a FUSE file system'

t.setTimeout(120_000)

/** A directory whose file system gives such positions. */
async function strangeDirectory(t: Test): Promise<string> {
  const place = tempDir(t)
  const [program, directory] = [join(place, 'program'), join(place, 'mounted')]
  const { status, stderr } = spawnSync('cc', [...FLAGS, '-o', program, SOURCE], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
  mkdirSync(directory)
  const server = spawn(program, [directory, `${FILES}`], { stdio: 'inherit' })
  t.teardown(() => {
    spawnSync('umount', ['-l', directory])
    server.kill()
  })
  for (let n = 0; readdirSync(directory).length === 0; n++) {
    if (n > 500) throw new Error('it has not mounted')
    await sleep(20)
  }
  return directory
}

type Way = 'readdir' | 'readdirplus'

/** Lists the root, with `each` called after each reply. */
async function list(
  fs: FuseGuest,
  way: Way,
  handle: bigint,
  each: (position: bigint) => unknown = () => {},
): Promise<Dirent[]> {
  const entries: Dirent[] = []
  for (;;) {
    const more = fs[way](ROOT_ID, handle, entries.at(-1)?.off ?? 0n, 4096)
    if (more.length === 0) return entries
    entries.push(...more)
    await each(entries.at(-1)!.off)
  }
}

const namesOf = (entries: readonly Dirent[]) => entries.map(({ name }) => name)

t.test('every entry once, and the right one behind every position', { skip }, async (t) => {
  const device = await Device.start(t, [], { directory: await strangeDirectory(t) })
  const fs = mount(t, device)
  for (const way of ['readdir', 'readdirplus'] as const) {
    const { handle } = fs.opendir(ROOT_ID)
    const entries = await list(fs, way, handle)
    t.ok(entries.some(({ off }) => off >= 1n << 63n) && entries.some(({ off }) => off < 1n << 63n))
    t.equal(new Set(namesOf(entries)).size, FILES)
    t.equal(entries.length, FILES)
    const other = fs.opendir(ROOT_ID).handle
    const wrong = entries.filter(({ off }, n) => {
      if (n % EVERY !== 0) return false
      const [next] = fs[way](ROOT_ID, n % 2 === 0 ? other : handle, off, 1024)
      return next?.off !== entries[n + 1]?.off
    })
    t.strictSame(wrong, [])
    t.strictSame(fs[way](ROOT_ID, other, entries.at(-1)!.off, 1024), [], 'nothing behind the last one')
    refused(t, 'EINVAL', () => fs[way](ROOT_ID, other, (1n << 63n) + 1n, 1024), 'a position that is none')
    t.equal((await list(fs, way, other)).length, FILES, 'from the beginning, afterwards')
    fs.releasedir(ROOT_ID, handle)
    fs.releasedir(ROOT_ID, other)
  }
})

t.test('a listing goes on in another process of the device', { skip }, async (t) => {
  const live = await LiveDevice.start(t, [], { directory: await strangeDirectory(t) })
  const fs = mount(t, live.device)
  const { handle } = fs.opendir(ROOT_ID)
  let replaced = 0
  const entries = await list(fs, 'readdir', handle, (position) =>
    position >= 1n << 63n && ++replaced <= 3 ? live.replace() : undefined,
  )
  t.ok(replaced >= 3)
  t.equal(new Set(namesOf(entries)).size, FILES)
  t.equal(entries.length, FILES)
})

t.test('where no position is beyond 2^63, one that is gets EINVAL', async (t) => {
  const device = await Device.start(t)
  for (let n = 0; n < FILES; n++) writeFileSync(join(device.directory, `${n}`), '')
  const fs = mount(t, device)
  const { handle } = fs.opendir(ROOT_ID)
  const [first] = fs.readdir(ROOT_ID, handle, 0, 1024)
  refused(t, 'EINVAL', () => fs.readdir(ROOT_ID, handle, 1n << 63n, 1024))
  t.equal(namesOf([first!])[0], namesOf(fs.readdir(ROOT_ID, handle, 0, 1024))[0])
})
