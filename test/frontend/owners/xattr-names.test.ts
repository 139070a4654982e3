/** --xattrmap and --no-xattr. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { getxattr, listxattr, removexattr, setxattr } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const text = (value: string) => Uint8Array.from(Buffer.from(value))

/** Reads attributes on the host with a program, because Node has no call for them. */
function hostXattrs(path: string): Record<string, string> {
  const script =
    'import os, sys, json; p = sys.argv[1]; print(json.dumps({n: os.getxattr(p, n).decode() for n in os.listxattr(p)}))'
  return JSON.parse(execFileSync('python3', ['-c', script, path], { encoding: 'utf8' }))
}

t.test(
  'names of the guest are kept under others on the host, whatever the guest may not set there',
  async (t) => {
    const device = await Device.start(t, ['--xattrmap', ':map::user.virtiofs.:'])
    const fs = mount(t, device)
    const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
    const path = `${device.directory}/file`
    for (const name of ['user.a', 'trusted.overlay.opaque', 'security.selinux'])
      setxattr(fs, nodeid, name, text(name))
    t.same(hostXattrs(path), {
      'user.virtiofs.user.a': 'user.a',
      'user.virtiofs.trusted.overlay.opaque': 'trusted.overlay.opaque',
      'user.virtiofs.security.selinux': 'security.selinux',
    })
    execFileSync('python3', ['-c', 'import os, sys; os.setxattr(sys.argv[1], "user.own", b"x")', path])
    t.same(listxattr(fs, nodeid).sort(), ['security.selinux', 'trusted.overlay.opaque', 'user.a'])
    t.same(getxattr(fs, nodeid, 'security.selinux'), text('security.selinux'))
    refused(t, 'ENODATA', () => getxattr(fs, nodeid, 'user.own'))
    removexattr(fs, nodeid, 'user.a')
    t.notOk('user.virtiofs.user.a' in hostXattrs(path))
  },
)

t.test(
  'names that a map refuses: EPERM to set and remove, ENODATA to read, EOPNOTSUPP where it says so',
  async (t) => {
    const map = ':unsupported:all:security.:security.::bad:client:trusted.:::ok:all:::'
    const device = await Device.start(t, ['--xattrmap', map])
    const fs = mount(t, device)
    const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
    refused(t, 'EPERM', () => setxattr(fs, nodeid, 'trusted.a', text('1')))
    refused(t, 'EPERM', () => removexattr(fs, nodeid, 'trusted.a'))
    refused(t, 'ENODATA', () => getxattr(fs, nodeid, 'trusted.a'))
    for (const attempt of [
      () => setxattr(fs, nodeid, 'security.a', text('1')),
      () => getxattr(fs, nodeid, 'security.a'),
      () => removexattr(fs, nodeid, 'security.a'),
    ])
      refused(t, 'ENOTSUP', attempt)
    setxattr(fs, nodeid, 'user.a', text('1'))
    t.same(listxattr(fs, nodeid), ['user.a'])
    t.same(hostXattrs(`${device.directory}/file`), { 'user.a': '1' })
  },
)

t.test('with --no-xattr the answer is ENOSYS, and the guest asks only once', async (t) => {
  const device = await Device.start(t, ['--no-xattr'])
  const fs = mount(t, device)
  const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
  for (const attempt of [
    () => setxattr(fs, nodeid, 'user.a', text('1')),
    () => getxattr(fs, nodeid, 'user.a'),
    () => listxattr(fs, nodeid),
    () => removexattr(fs, nodeid, 'user.a'),
  ])
    refused(t, 'ENOSYS', attempt)
})

t.test('with --readonly attributes can be read, and not changed', async (t) => {
  const device = await Device.start(t, ['--readonly'])
  writeFileSync(`${device.directory}/file`, '')
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  refused(t, 'EROFS', () => setxattr(fs, nodeid, 'user.a', text('1')))
  refused(t, 'EROFS', () => removexattr(fs, nodeid, 'user.a'))
  t.same(listxattr(fs, nodeid), [])
})

t.test('a malformed map is reported in one line, with status 2', async (t) => {
  const share = ['--shared-dir', '/usr', '--socket-path', '/tmp/no-such-socket']
  const { status, stderr } = runProgram([...share, '--xattrmap', ':map:user.:'])
  t.equal(status, 2)
  t.match(stderr, /^.*--xattrmap: rule 1 does not end with its separator ':'$/)
})

t.test(
  'xattrs work in a sandbox with the filter of system calls',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    for (const sandbox of ['namespace', 'chroot'] as const) {
      const device = await Device.start(t, ['--xattrmap', ':map::user.virtiofs.:'], { sandbox })
      const fs = mount(t, device)
      const link = fs.symlink(ROOT_ID, 'link', 'nowhere').nodeid
      const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
      setxattr(fs, nodeid, 'security.capability', text('x'))
      t.same(listxattr(fs, nodeid), ['security.capability'])
      t.same(listxattr(fs, link), [])
    }
  },
)
