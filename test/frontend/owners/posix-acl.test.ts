/** --posix-acl: ACLs are kept on the host, and a default ACL replaces the guest's umask. */
import { chmodSync, statSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Device } from '../../support/device/device.js'
import { EVERY_FLAG, ROOT_ID, SETXATTR_ACL_KILL_SGID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { getxattr, listxattr, removexattr, setxattr } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const O_RDWR = 2
const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'
const NO_ID = 0xffff_ffff

/** posix_acl_xattr_header (version 2) and entries: tag and permissions, id. */
function acl(...entries: readonly (readonly [tag: number, permissions: number, id?: number])[]): Uint8Array {
  return concat(
    u32(2),
    ...entries.map(([tag, permissions, id = NO_ID]) => u32(tag | (permissions << 16), id)),
  )
}
const [USER_OBJ, USER, GROUP_OBJ, MASK, OTHER] = [0x01, 0x02, 0x04, 0x10, 0x20]
const inherited = acl([USER_OBJ, 7], [USER, 7, 1000], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 5])

const mounted = (t: Test, device: Device) => mount(t, device, { init: { flags: EVERY_FLAG } })

function make(fs: FuseGuest, parent: bigint, umask: number): readonly string[] {
  const { nodeid, handle } = fs.create(parent, 'created', O_RDWR, 0o666, umask)
  fs.release(nodeid, handle)
  const tmp = fs.tmpfile(parent, O_RDWR, 0o666, umask)
  fs.link(tmp.nodeid, parent, 'tmp')
  fs.release(tmp.nodeid, tmp.handle)
  fs.mknod(parent, 'node', 0o100666, 0, umask)
  fs.mkdir(parent, 'directory', 0o777, umask)
  return ['created', 'tmp', 'node', 'directory']
}

t.test('ACLs are set, read, listed and removed', async (t) => {
  const device = await Device.start(t, ['--posix-acl'])
  const fs = mounted(t, device)
  const { nodeid } = fs.mkdir(ROOT_ID, 'directory')
  for (const name of [ACCESS, DEFAULT]) {
    setxattr(fs, nodeid, name, inherited, 0, 0)
    t.same(getxattr(fs, nodeid, name), inherited)
    t.ok(listxattr(fs, nodeid).includes(name))
    removexattr(fs, nodeid, name)
    refused(t, 'ENODATA', () => getxattr(fs, nodeid, name))
  }
  refused(t, 'ENOTSUP', () => setxattr(fs, nodeid, ACCESS, u32(7), 0, 0), 'no ACL')
})

t.test('without a default ACL the guest’s umask applies, for that one file', async (t) => {
  const device = await Device.start(t, ['--posix-acl'])
  const fs = mounted(t, device)
  const { nodeid } = fs.mkdir(ROOT_ID, 'plain')
  const mode = (name: string) => statSync(`${device.directory}/plain/${name}`).mode & 0o7777
  t.same(make(fs, nodeid, 0o027).map(mode), [0o640, 0o640, 0o640, 0o750])
  const { nodeid: file, handle } = fs.create(nodeid, 'next', O_RDWR, 0o666)
  fs.release(file, handle)
  t.equal(mode('next'), 0o666)
})

t.test('a default ACL replaces the umask', async (t) => {
  const device = await Device.start(t, ['--posix-acl'])
  const fs = mounted(t, device)
  const { nodeid } = fs.mkdir(ROOT_ID, 'with')
  setxattr(fs, nodeid, DEFAULT, inherited, 0, 0)
  const mode = (name: string) => statSync(`${device.directory}/with/${name}`).mode & 0o7777
  // Group bits show the mask of the ACL; a umask of 077 would have taken them.
  t.same(make(fs, nodeid, 0o077).map(mode), [0o664, 0o664, 0o664, 0o775])
  t.equal(getxattr(fs, fs.lookup(nodeid, 'created').nodeid, ACCESS).length, inherited.length)
})

t.test('without ACLs the device ignores the umask, which the guest has applied', async (t) => {
  const device = await Device.start(t)
  const fs = mounted(t, device)
  const { nodeid } = fs.mkdir(ROOT_ID, 'plain')
  for (const name of make(fs, nodeid, 0o077))
    t.equal(statSync(`${device.directory}/plain/${name}`).mode & 0o077, name === 'directory' ? 0o077 : 0o066)
})

t.test('setting an access ACL as a caller outside of the group clears the set-group-id bit', async (t) => {
  const device = await Device.start(t, ['--posix-acl'])
  const fs = mounted(t, device)
  const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100755)
  const path = `${device.directory}/file`
  for (const [extFlags, left] of [
    [0, 0o2000],
    [SETXATTR_ACL_KILL_SGID, 0],
  ] as const) {
    chmodSync(path, 0o2755)
    setxattr(fs, nodeid, ACCESS, inherited, 0, extFlags)
    t.equal(statSync(path).mode & 0o2000, left)
  }
})

t.test('SETXATTR has its longer form when that was agreed on, and only then', async (t) => {
  const device = await Device.start(t, ['--posix-acl'])
  const fs = mounted(t, device)
  const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
  refused(t, 'EINVAL', () => setxattr(fs, nodeid, 'user.a', new Uint8Array(0)), 'the short form')
  setxattr(fs, nodeid, 'user.a', new Uint8Array(8), 0, 0)
  fs.init()
  const again = fs.lookup(ROOT_ID, 'file').nodeid
  setxattr(fs, again, 'user.a', Uint8Array.of(1))
  t.same(getxattr(fs, again, 'user.a'), Uint8Array.of(1))
})
