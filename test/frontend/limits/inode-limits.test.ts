/** A guest may know only so many inodes, and forgotten ones are freed: over a million lookups. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { cstring, ENTRY_BYTES, u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'

const FILES = 2_000
const ROUNDS = 500
/** Requests that are on the ring at a time. */
const BATCH = 50
const KIB = 1024

t.test('beyond --inode-limit: ENFILE, and the guest goes on when it gives some back', async (t) => {
  const device = await Device.start(t, ['--inode-limit', '10'])
  for (let n = 0; n < 20; n++) writeFileSync(`${device.directory}/file-${n}`, '')
  const fs = mount(t, device)
  const nodes = Array.from({ length: 9 }, (_, n) => fs.lookup(ROOT_ID, `file-${n}`).nodeid)
  refused(t, 'ENFILE', () => fs.lookup(ROOT_ID, 'file-9'))
  refused(t, 'ENFILE', () => fs.mkdir(ROOT_ID, 'directory'))
  t.equal(fs.lookup(ROOT_ID, 'file-3').nodeid, nodes[3], 'those that are known are found')
  const { handle } = fs.opendir(ROOT_ID)
  const listed = fs.readdirplus(ROOT_ID, handle, 0, 65_536)
  t.equal(listed.filter(({ entry }) => entry?.nodeid !== 0n).length, 9, 'others are listed by name alone')
  fs.forget(nodes[0], fs.lookups.get(nodes[0]) ?? 0n)
  fs.lookup(ROOT_ID, 'file-10')
  t.ok(await device.waitForLog((line) => line.msg === 'out of inodes: the guest gets ENFILE'))
})

t.test(
  'a million lookups of 2,000 files, given back: no descriptor, no inode and no memory is left',
  async (t) => {
    const device = await Device.start(t, ['--inode-limit', `${FILES + 1}`])
    mkdirSync(`${device.directory}/many`)
    for (let n = 0; n < FILES; n++) writeFileSync(`${device.directory}/many/file-${n}`, '')
    const fs = mount(t, device, { queueSize: 1024 })
    const held = device.fdCount()
    const { nodeid } = fs.lookup(ROOT_ID, 'many')
    const names = Array.from({ length: FILES - 1 }, (_, n) => cstring(`file-${n}`))
    const residentKib = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${device.pid}/status`, 'utf8'))?.[1])
    let warmKib = 0
    for (let round = 0; round < ROUNDS; round++) {
      for (let from = 0; from < names.length; from += BATCH) {
        const batch = names.slice(from, from + BATCH)
        for (const args of batch)
          fs.start({ opcode: Op.LOOKUP, nodeid, args, reply: { argBytes: ENTRY_BYTES } })
        const found = batch.map(() =>
          new DataView(fs.finish().reply?.body.buffer as ArrayBuffer).getBigUint64(0, true),
        )
        for (const node of found) fs.start({ opcode: Op.FORGET, nodeid: node, args: u64(1), reply: 'none' })
        for (const _ of found) fs.finish()
      }
      if (round === ROUNDS / 5) warmKib = residentKib()
    }
    fs.forgetAll()
    t.equal(device.fdCount(), held)
    t.ok(residentKib() < warmKib + 32 * KIB, `${warmKib} KiB, then ${residentKib()} KiB`)
    // As many new inodes fit below the limit, so none of the old ones was kept.
    const again = fs.lookup(ROOT_ID, 'many').nodeid
    for (let n = 0; n < FILES - 1; n++) fs.lookup(again, `file-${n}`)
    refused(t, 'ENFILE', () => fs.lookup(again, `file-${FILES - 1}`))
  },
)

t.test('--inode-file-handles never: each inode keeps a descriptor', async (t) => {
  const device = await Device.start(t, ['--inode-file-handles', 'never', '--rlimit-nofile', '512'])
  for (let n = 0; n < 400; n++) writeFileSync(`${device.directory}/file-${n}`, '')
  const fs = mount(t, device)
  const found = () => Array.from({ length: 400 }, (_, n) => fs.lookup(ROOT_ID, `file-${n}`))
  refused(t, 'ENFILE', found)
})

t.test(
  '--inode-file-handles prefer and mandatory: more inodes than descriptors',
  { skip: !isRoot && 'needs root: it opens file handles' },
  async (t) => {
    for (const use of ['prefer', 'fallback', 'mandatory']) {
      const device = await Device.start(t, [`--inode-file-handles=${use}`, '--rlimit-nofile', '512'])
      for (let n = 0; n < 400; n++) writeFileSync(`${device.directory}/file-${n}`, '')
      const fs = mount(t, device)
      const nodes = Array.from({ length: 400 }, (_, n) => fs.lookup(ROOT_ID, `file-${n}`).nodeid)
      for (const node of nodes) t.equal(fs.getattr(node).attr.nlink, 1)
    }
  },
)

t.test(
  '--inode-file-handles mandatory where they cannot be opened: the program does not start',
  { skip: !isRoot && 'needs root: it drops a capability' },
  async (t) => {
    const share = ['--shared-dir', tempDir(t), '--socket-path', `/tmp/vfs-mandatory-${process.pid}`]
    const { status, stderr } = runProgram(
      [...share, '--sandbox', 'none', '--inode-file-handles', 'mandatory'],
      ['setpriv', '--bounding-set', '-dac_read_search'],
    )
    t.equal(status, 1)
    t.match(stderr, /inodes cannot be opened by file handles/)
  },
)
