/** Timeouts and FOPEN flags of each cache policy, with and without --parallel-dio. */
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { Fopen, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'

const O_RDWR = 2
const SEC_NS = 1_000_000_000n
const { DIRECT_IO, KEEP_CACHE, CACHE_DIR, PARALLEL_DIRECT_WRITES } = Fopen

/** Names and meanings are virtiofsd's. */
const policies = [
  { cache: 'never', timeoutSec: 0n, file: DIRECT_IO, directory: 0 },
  { cache: 'metadata', timeoutSec: 86_400n, file: DIRECT_IO, directory: CACHE_DIR | KEEP_CACHE },
  { cache: 'auto', timeoutSec: 1n, file: 0, directory: 0 },
  { cache: 'always', timeoutSec: 86_400n, file: KEEP_CACHE, directory: CACHE_DIR | KEEP_CACHE },
]

for (const { cache, timeoutSec, file, directory } of policies) {
  for (const parallelDio of [false, true]) {
    const args = ['--cache', cache, ...(parallelDio ? ['--parallel-dio'] : [])]
    t.test(args.join(' '), async (t) => {
      const device = await Device.start(t, args)
      const fs = mount(t, device)
      const timeoutNs = timeoutSec * SEC_NS
      writeFileSync(`${device.directory}/file`, '')

      const found = fs.lookup(ROOT_ID, 'file')
      const made = [
        fs.mkdir(ROOT_ID, 'dir'),
        fs.mknod(ROOT_ID, 'node', 0o100644),
        fs.symlink(ROOT_ID, 'link', 'file'),
        fs.link(found.nodeid, ROOT_ID, 'hard link'),
      ]
      const created = fs.create(ROOT_ID, 'created', O_RDWR)
      const again = fs.create(ROOT_ID, 'file', O_RDWR)
      const opened = fs.opendir(ROOT_ID)
      const listed = fs.readdirplus(ROOT_ID, opened.handle, 0).filter(({ name }) => !name.startsWith('.'))
      const entries = [found, ...made, created, again, ...listed.map(({ entry }) => entry)]
      t.same(
        entries.map((entry) => [entry?.entryValidNs, entry?.attrValidNs]),
        entries.map(() => [timeoutNs, timeoutNs]),
      )
      t.equal(fs.getattr(found.nodeid).validNs, timeoutNs)
      t.equal(fs.setattr(found.nodeid, { mode: 0o600 }).validNs, timeoutNs)

      // PARALLEL_DIRECT_WRITES has no meaning without DIRECT_IO, and is not sent.
      const parallel = parallelDio && (file & DIRECT_IO) !== 0 ? PARALLEL_DIRECT_WRITES : 0
      for (const open of [fs.open(found.nodeid, 0), fs.open(found.nodeid, O_RDWR), created, again])
        t.equal(open.flags, file | parallel)
      t.equal(opened.flags, directory)
      fs.close()
    })
  }
}
