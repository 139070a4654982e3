/**
 * More files than the device has descriptors, and a host that has dropped their names from its cache: a file is opened by its
 * file handle, and then has no path for the rules to match. The rule of its path decides all the same.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { RunningProgram } from '../support/device/program.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { DiskImage } from '../support/host/disk-image.js'
import { tempDir } from '../support/host/temp-dir.js'

const FILES = 1500
const O_RDWR = 2
const O_TRUNC = 0o1000
const FOPEN_DIRECT_IO = 1
const SECOND_NS = 1_000_000_000n

t.setTimeout(120_000)

for (const sandbox of ['none', 'namespace']) {
  t.test(`--sandbox ${sandbox}`, { skip: !isRoot && 'needs root: it mounts a disk image' }, async (t) => {
    const place = tempDir(t)
    const directory = join(place, 'disk')
    const disk = DiskImage.mount(t, directory, join(place, 'image'))
    if (disk === undefined) {
      t.pass('no disk image can be mounted here', { skip: true })
      return
    }
    mkdirSync(join(directory, 'db'))
    for (let n = 0; n < FILES; n++) writeFileSync(join(directory, 'db', `${n}`), 'text')
    const socketPath = join(place, 'socket')
    const config = join(place, 'config.toml')
    writeFileSync(
      config,
      `sandbox = "${sandbox}"
       rlimit-nofile = 600
       [[share]]
       tag = "share"
       path = "${directory}"
       socket = "${socketPath}"
       cache = "always"
       [[share.rule]]
       match = "db/**"
       cache = "never"`,
    )
    const program = new RunningProgram(t, ['--config', config])
    await program.says('ready')
    const fs = mount(t, { socketPath })
    const db = fs.lookup(ROOT_ID, 'db').nodeid
    const nodes = Array.from({ length: FILES }, (_, n) => fs.lookup(db, `${n}`).nodeid)
    t.ok(disk.dropNames())

    t.equal(fs.getattr(nodes[0]!).validNs, 0n, 'nothing is to be cached before the rule is known')
    // Linux looks the path up again, and its kernel sends what the same thread had asked for.
    refused(t, 'ESTALE', () => fs.open(nodes[0]!, O_RDWR | O_TRUNC))
    t.equal(fs.getattr(nodes[0]!).attr.size, 4n, 'and nothing has happened to the file')
    t.equal(fs.lookup(db, '0').nodeid, nodes[0])
    t.equal(fs.open(nodes[0]!, O_RDWR).flags, FOPEN_DIRECT_IO)
    t.equal(fs.create(db, '1', O_RDWR).flags, FOPEN_DIRECT_IO, 'CREATE names the file')
    const { handle } = fs.opendir(db)
    for (let at = 0n, listed = fs.readdirplus(db, handle, at); listed.length > 0; ) {
      at = listed.at(-1)!.off
      listed = fs.readdirplus(db, handle, at, 65_536)
    }
    fs.releasedir(db, handle)
    for (const node of nodes) {
      const opened = fs.open(node, O_RDWR)
      if (opened.flags !== FOPEN_DIRECT_IO) t.equal(opened.flags, FOPEN_DIRECT_IO)
      fs.release(node, opened.handle)
    }

    t.ok(disk.dropNames())
    renameSync(join(directory, 'db', '7'), join(directory, 'seven'))
    t.ok(disk.dropNames())
    fs.lookup(ROOT_ID, 'seven')
    t.not(
      fs.open(nodes[7]!, O_RDWR).flags & FOPEN_DIRECT_IO,
      FOPEN_DIRECT_IO,
      'a file that the host has moved',
    )
    t.equal(fs.getattr(nodes[7]!).validNs, 86_400n * SECOND_NS)
    refused(t, 'ESTALE', () => fs.open(nodes[8]!, O_RDWR))
    t.type(
      fs.open(nodes[8]!, O_RDWR).flags,
      'number',
      'a file that is opened without a name, by /proc/self/fd',
    )
    fs.close()
  })
}
