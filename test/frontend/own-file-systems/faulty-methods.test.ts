/** Each method of a file system fails in each way: the guest gets an errno, and a log line names the method. */
import { constants } from 'node:fs'
import t from 'tap'
import { faults } from '../../support/file-systems/faulty-file-system.js'
import { fixture, ServedModule } from '../../support/file-systems/served-module.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { getxattr, listxattr, removexattr, setxattr } from '../../support/fuse/posix-calls.js'
import { errorOf } from '../../support/fuse/refusals.js'

const { O_RDONLY, O_RDWR, S_IFIFO } = constants

t.setTimeout(200_000)

/** A request that calls a method of this node. */
type Ask = (guest: FuseGuest, nodeid: bigint) => unknown
/** The name of the new file does not choose a fault. */
const NEW = 'new'

const opened = (guest: FuseGuest, nodeid: bigint) => guest.open(nodeid, O_RDWR).handle

/** The request for each method, and what the method may return besides its proper values. */
const methods: Readonly<Record<string, readonly [Ask, ...string[]]>> = {
  stat: [(guest, nodeid) => guest.getattr(nodeid), 'object', 'array', 'bytes'],
  setattr: [(guest, nodeid) => guest.setattr(nodeid, { mode: 0o600 }), 'anything'],
  lookup: [(guest, nodeid) => guest.lookup(nodeid, NEW), 'object', 'array', 'bytes'],
  readdir: [(guest, nodeid) => guest.readdir(nodeid, guest.opendir(nodeid).handle, 0n), 'array'],
  create: [(guest, nodeid) => guest.create(nodeid, NEW, O_RDWR), 'object', 'array', 'bytes'],
  mkdir: [(guest, nodeid) => guest.mkdir(nodeid, NEW), 'object', 'array', 'bytes'],
  mknod: [(guest, nodeid) => guest.mknod(nodeid, NEW, S_IFIFO), 'object', 'array', 'bytes'],
  symlink: [(guest, nodeid) => guest.symlink(nodeid, NEW, 'target'), 'object', 'array', 'bytes'],
  link: [(guest, nodeid) => guest.link(guest.lookup(nodeid, NEW).nodeid, nodeid, NEW), 'anything'],
  unlink: [(guest, nodeid) => guest.unlink(nodeid, NEW), 'anything'],
  rmdir: [(guest, nodeid) => guest.rmdir(nodeid, NEW), 'anything'],
  rename: [(guest, nodeid) => guest.rename(nodeid, NEW, nodeid, 'newer'), 'anything'],
  readlink: [(guest, nodeid) => guest.readlink(nodeid), 'text', 'later text'],
  open: [
    (guest, nodeid) => guest.open(nodeid, O_RDONLY),
    ...['undefined', 'later undefined', 'null', 'object', 'array', 'bytes'],
  ],
  release: [(guest, nodeid) => guest.release(nodeid, opened(guest, nodeid)), 'anything'],
  read: [(guest, nodeid) => guest.read(nodeid, opened(guest, nodeid), 0, 10), 'bytes'],
  write: [
    (guest, nodeid) => guest.write(nodeid, opened(guest, nodeid), 0, new Uint8Array(5)),
    ...['undefined', 'later undefined', 'null', 'number'],
  ],
  flush: [(guest, nodeid) => guest.flush(nodeid, opened(guest, nodeid)), 'anything'],
  fsync: [(guest, nodeid) => guest.fsync(nodeid, opened(guest, nodeid)), 'anything'],
  fallocate: [(guest, nodeid) => guest.fallocate(nodeid, opened(guest, nodeid), 0, 10), 'anything'],
  seek: [(guest, nodeid) => guest.lseek(nodeid, opened(guest, nodeid), 1, 3), 'number'],
  getxattr: [(guest, nodeid) => getxattr(guest, nodeid, 'user.a'), 'bytes'],
  listxattr: [(guest, nodeid) => listxattr(guest, nodeid), 'array'],
  setxattr: [(guest, nodeid) => setxattr(guest, nodeid, 'user.a', new Uint8Array(3)), 'anything'],
  removexattr: [(guest, nodeid) => removexattr(guest, nodeid, 'user.a'), 'anything'],
  statfs: [(guest) => guest.statfs(), 'undefined', 'later undefined', 'null', 'object', 'array', 'bytes'],
  sync: [(guest) => guest.syncfs(), 'anything'],
}

/** Here undefined has a meaning: a name or an attribute that does not exist. */
const absences: Readonly<Record<string, string>> = { lookup: 'ENOENT', getxattr: 'ENODATA' }

const own: Readonly<Record<string, string>> = {
  'throws a code': 'ENOSPC',
  'rejects a code': 'ENOSPC',
  'never settles': 'ETIMEDOUT',
}

function expectedOf(method: string, fault: string): string {
  const [, ...allowed] = methods[method] as (typeof methods)[string]
  const known = own[fault]
  if (known !== undefined) return known
  if (/throws|rejects|bad then|odd proxy/.test(fault)) return 'EIO'
  if (/undefined|null/.test(fault) && absences[method] !== undefined) return absences[method]
  return allowed.includes('anything') || allowed.includes(fault) ? 'no error' : 'EIO'
}

t.test('every fault of every method has its errno, and the device goes on', async (t) => {
  const device = await ServedModule.start(t, fixture('faulty-file-system'), {
    serve: { methodTimeoutMs: 20 },
  })
  const guest = mount(t, device)
  for (const [method, [ask]] of Object.entries(methods)) {
    const codes: Record<string, string> = {}
    const expected: Record<string, string> = {}
    for (const fault of Object.keys(faults)) {
      expected[fault] = expectedOf(method, fault)
      codes[fault] = errorOf(() => ask(guest, guest.lookup(1n, `${method} ${fault}`).nodeid))
    }
    t.same(codes, expected, method)
    t.equal(guest.lookup(1n, 'good').attr.size, 10n, 'the device lives')
    await device.says(new RegExp(`${method === 'sync' ? 'sync' : method}\\(\\) failed: the guest gets EIO`))
    await device.says(new RegExp(`(${method}|lookup)\\(\\) has not settled: the guest gets ETIMEDOUT`))
  }
})

for (const method of ['forget', 'mounted', 'unmounted']) {
  t.test(`a fault in ${method}, for which no request waits, is logged, and the device goes on`, async (t) => {
    const device = await ServedModule.start(t, fixture('faulty-file-system'), { serve: { once: false } })
    for (const fault of Object.keys(faults)) {
      const guest = mount(t, device)
      guest.lookup(1n, `${method} ${fault}`)
      guest.forgetAll()
      guest.close()
      const next = mount(t, device)
      t.equal(next.lookup(1n, 'good').attr.size, 10n, fault)
      next.close()
    }
    await device.says(new RegExp(`${method}\\(\\) failed`))
  })
}
