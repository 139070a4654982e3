/** A directory of 10,000 entries, listed right while entries come and go, in memory and on the disk. */
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { type List, listAll, listers } from '../../opcodes/directories.js'
import { Device, type Storage } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import type { Dirent } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'

const ENTRIES = 10_000
const EXT4_MAGIC = 0xef53n
const MIB = 1 << 20

const nameOf = (n: number) => `entry-${String(n).padStart(5, '0')}-${'x'.repeat(n % 40)}`
const namesOf = (dirents: readonly Dirent[]) => dirents.map(({ name }) => name)

for (const storage of ['memory', 'disk'] as const) {
  t.test(`in ${storage === 'disk' ? 'the file system of the disk' : 'memory'}`, async (t) => {
    await listLargeDirectory(t, storage)
  })
}

async function listLargeDirectory(t: Test, storage: Storage): Promise<void> {
  const device = await Device.start(t, ['--keep-alive'], { storage })
  const path = `${device.directory}/large`
  mkdirSync(path)
  const stable = new Set(['.', '..'])
  for (let n = 0; n < ENTRIES; n++) {
    writeFileSync(`${path}/${nameOf(n)}`, '')
    stable.add(nameOf(n))
  }
  const fs = mount(t, device, { queueSize: 1024 })
  const heldBefore = device.fdCount()
  const dir = fs.lookup(ROOT_ID, 'large').nodeid

  for (const [opcode, list] of listers) {
    for (const roomBytes of [512, 4096, MIB]) {
      const { handle } = fs.opendir(dir)
      const names = namesOf(listAll(fs, dir, handle, list, roomBytes))
      t.equal(names.length, stable.size, `${opcode} with ${roomBytes} bytes: every entry`)
      t.ok(new Set(names).size === stable.size && names.every((name) => stable.has(name)), 'each just once')
      fs.releasedir(dir, handle)
    }
    seekEverywhere(t, fs, dir, opcode, list)
    listWhileChanging(t, fs, dir, path, opcode, list)
  }
  const large = fs.opendir(dir)
  const cookies = listAll(fs, dir, large.handle, listers[0][1], 32_768).map(({ off }) => off)
  t.equal(new Set(cookies).size, cookies.length, 'no position twice')
  if (statfsSync(path, { bigint: true }).type === EXT4_MAGIC) {
    t.ok(
      cookies.some((off) => off > 1n << 60n && (off & 0xffff_ffffn) !== 0n),
      'positions of 63 bits come through whole',
    )
  }
  fs.releasedir(dir, large.handle)
  fs.forgetAll()
  // So many inodes are kept by file handle, which takes one descriptor of their mount until the session ends.
  t.ok(device.fdCount() - heldBefore <= 1, 'no inode is left open')
  fs.init()
  t.equal(device.fdCount(), heldBefore, 'nothing is left open')
  fs.close()
}

/** telldir and seekdir: each position leads to the entry that followed it, in any order. */
function seekEverywhere(t: Test, fs: FuseGuest, dir: bigint, opcode: string, list: List): void {
  const { handle } = fs.opendir(dir)
  const all = listAll(fs, dir, handle, list, 32_768)
  let right = 0
  for (let step = 0; step < 300; step++) {
    const n = (step * 7919) % (all.length - 1)
    const room = 1024 + (step % 5) * 3000
    const some = namesOf(list(fs, dir, handle, all[n].off, room))
    const expected = namesOf(all.slice(n + 1, n + 1 + some.length))
    if (some.length > 0 && some.join('/') === expected.join('/')) right++
  }
  t.equal(right, 300, `${opcode}: seeks to remembered positions`)
  const first = namesOf(list(fs, dir, handle, 0n, 4096))
  t.ok(first.length > 0)
  t.strictSame(first, namesOf(all.slice(0, first.length)), `${opcode}: rewinddir`)
  fs.releasedir(dir, handle)
}

/** An entry that was there all the time is listed exactly once, whatever others came and went. */
function listWhileChanging(
  t: Test,
  fs: FuseGuest,
  dir: bigint,
  path: string,
  opcode: string,
  list: List,
): void {
  const passing = (n: number) => `${path}/passing-${n}`
  for (let n = 0; n < 500; n++) writeFileSync(passing(n), '')
  const { handle } = fs.opendir(dir)
  const seen = new Map<string, number>()
  let made = 500
  let removed = 0
  for (let offset = 0n; ; ) {
    const some = list(fs, dir, handle, offset, 4096)
    if (some.length === 0) break
    offset = some[some.length - 1].off
    for (const { name } of some) seen.set(name, (seen.get(name) ?? 0) + 1)
    for (let n = 0; n < 5; n++) {
      writeFileSync(passing(made++), '')
      rmSync(passing(removed++))
    }
  }
  fs.releasedir(dir, handle)
  const counts = Array.from({ length: ENTRIES }, (_, n) => seen.get(nameOf(n)) ?? 0)
  t.ok(
    counts.every((count) => count === 1),
    `${opcode} while entries come and go: every one that stayed, once`,
  )
  t.ok(
    [...seen.values()].every((count) => count === 1),
    'and none of the others twice',
  )
  for (; removed < made; removed++) rmSync(passing(removed))
}
