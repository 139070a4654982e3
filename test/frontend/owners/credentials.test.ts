/**
 * A new file belongs to its caller in the guest: the device takes that identity for one system call. Needs root: other
 * users' ids.
 */
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { groupsExtension } from '../../support/fuse/fuse-wire.js'
import { makers, ownedDirectory } from '../../support/fuse/makers.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

const O_RDWR = 2
const user = { uid: 1000, gid: 1000 }
const withGroup = { ...user, extensions: groupsExtension(2000) }

if (!isRoot) t.plan(0, 'needs root: it makes files as other users')
else await credentialTests()

async function credentialTests(): Promise<void> {
  const device = await Device.start(t, ['--keep-alive'])
  const identities = new Set(device.threadIdentities())
  const assertNothingLeft = (t: Test) => {
    t.ok(
      device.threadIdentities().every((identity) => identities.has(identity)),
      'every thread is who it was',
    )
  }

  t.test('a new file belongs to the user and group of the caller', async (t) => {
    const fs = mount(t, device)
    const open = ownedDirectory(device, fs, 0, 0o777)
    for (const [name, make] of Object.entries(makers)) {
      for (const caller of [user, { uid: 0, gid: 0 }, { uid: 0, gid: 1000 }, { uid: 1000, gid: 0 }]) {
        const file = `${name}-${caller.uid}-${caller.gid}`
        fs.as(caller, () => make(fs, open.node, file))
        t.same(open.owner(`${file}`), [caller.uid, caller.gid], file)
        assertNothingLeft(t)
      }
    }
  })

  t.test(
    'who may write to a directory is decided by the guest’s kernel, which knows all of a process',
    async (t) => {
      const fs = mount(t, device)
      const closed = ownedDirectory(device, fs, 2000, 0o770)
      for (const [name, make] of Object.entries(makers)) {
        for (const [who, caller] of Object.entries({ user, withGroup })) {
          fs.as(caller, () => make(fs, closed.node, `${name} ${who}`))
          t.same(closed.owner(`${name} ${who}`), [1000, 1000])
          assertNothingLeft(t)
        }
        make(fs, closed.node, name)
        t.same(closed.owner(name), [0, 0])
      }
    },
  )

  t.test('a supplementary group in a request counts for that request alone', async (t) => {
    const fs = mount(t, device)
    // A set-group-id directory: what is made there has group 2000, and keeps that bit for members alone.
    const shared = ownedDirectory(device, fs, 2000, 0o2777)
    const keepsBit = (name: string) => (shared.stat(name).mode & 0o2000) !== 0
    const make = (name: string) => fs.mknod(shared.node, name, 0o102755)
    fs.as(withGroup, () => make('member'))
    assertNothingLeft(t)
    fs.as(user, () => make('stranger'))
    fs.as({ uid: 0, gid: 0, extensions: groupsExtension(2000) }, () => make('root'))
    fs.as(user, () => make('stranger after root with the group'))
    t.same(['member', 'stranger', 'stranger after root with the group'].map(keepsBit), [true, false, false])
    t.same(shared.owner('member'), [1000, 2000])
  })

  t.test('ids of -1 get EINVAL, and nothing is made', async (t) => {
    const fs = mount(t, device)
    for (const [name, make] of Object.entries(makers))
      for (const caller of [
        { uid: 0xffff_ffff, gid: 0 },
        { uid: 0, gid: 0xffff_ffff },
      ])
        refused(t, 'EINVAL', () => fs.as(caller, () => make(fs, ROOT_ID, name)))
    assertNothingLeft(t)
  })

  t.test(
    'what is not made is changed as whoever runs the device: the guest kernel has checked',
    async (t) => {
      const fs = mount(t, device)
      const closed = ownedDirectory(device, fs, 0, 0o700)
      const file = fs.mknod(closed.node, 'file', 0o100600).nodeid
      fs.as(user, () => {
        fs.setattr(file, { mode: 0o640 })
        const { handle } = fs.open(file, O_RDWR)
        fs.write(file, handle, 0, Uint8Array.of(1))
        fs.release(file, handle)
        fs.link(file, closed.node, 'linked')
        fs.rename(closed.node, 'linked', closed.node, 'renamed')
        fs.unlink(closed.node, 'renamed')
      })
      t.same(closed.owner('file'), [0, 0])
    },
  )

  t.test('groups that the device was started with give no rights to a user of the guest', async (t) => {
    const launcher = ['setpriv', '--groups', '2000,3000']
    const device = await Device.start(t, [], { launcher })
    const fs = mount(t, device)
    const shared = ownedDirectory(device, fs, 2000, 0o2777)
    fs.as(user, () => fs.mknod(shared.node, 'x', 0o102755))
    t.equal(shared.stat('x').mode & 0o2000, 0)
  })

  t.test(
    'a device that may not change its identity answers other users with EPERM, and serves root as itself',
    async (t) => {
      const launcher = ['setpriv', '--bounding-set', '-setuid,-setgid']
      const device = await Device.start(t, [], { launcher })
      const fs = mount(t, device)
      const open = ownedDirectory(device, fs, 0, 0o777)
      for (const [name, make] of Object.entries(makers)) {
        refused(t, 'EPERM', () => fs.as(user, () => make(fs, open.node, name)))
        make(fs, open.node, name)
        t.same(open.owner(`${name}`), [0, 0])
      }
    },
  )

  const caps = ['setuid', 'setgid', 'dac_override', 'chown'].map((name) => `+${name}`).join(',')
  const ordinary = [
    '--reuid=1234',
    '--regid=1234',
    '--clear-groups',
    '--inh-caps',
    caps,
    '--ambient-caps',
    caps,
  ]
  for (const [who, args] of Object.entries({
    'root with another group': ['--regid=5', '--clear-groups'],
    'an ordinary user who may become others': ordinary,
  })) {
    for (const sandbox of ['none', 'chroot'] as const) {
      if (sandbox === 'chroot' && who !== 'root with another group') continue
      t.test(`a device of ${who}: a new file belongs to its maker, root included (${sandbox})`, async (t) => {
        const own = who === 'root with another group' ? {} : { owner: 1234 }
        const device = await Device.start(t, [], { launcher: ['setpriv', ...args], sandbox, ...own })
        const before = new Set(device.threadIdentities())
        const fs = mount(t, device)
        const open = ownedDirectory(device, fs, 2000, 0o777)
        const shared = ownedDirectory(device, fs, 2000, 0o2777)
        for (const round of [1, 2]) {
          for (const [name, make] of Object.entries(makers)) {
            for (const id of [0, 1000, 1234]) {
              const file = `${name}-${id}-${round}`
              fs.as({ uid: id, gid: id }, () => make(fs, open.node, file))
              t.same(open.owner(file), [id, id], file)
            }
          }
          const bitOf = (id: number) => {
            fs.as({ uid: id, gid: id }, () => fs.mknod(shared.node, `${id}-${round}`, 0o102755))
            return shared.stat(`${id}-${round}`).mode & 0o2000
          }
          t.same([1000, 1234].map(bitOf), [0, 0], 'no right of the device is a user’s of the guest')
        }
        t.ok(device.threadIdentities().every((identity) => before.has(identity)))
      })
    }
  }

  for (const sandbox of ['none', 'namespace'] as const) {
    t.test(`a device of an ordinary user answers other users with EPERM: --sandbox ${sandbox}`, async (t) => {
      const launcher = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups']
      const device = await Device.start(t, [], { launcher, sandbox, owner: 1234 })
      const fs = mount(t, device)
      for (const [name, make] of Object.entries(makers))
        refused(t, 'EPERM', () => fs.as(user, () => make(fs, ROOT_ID, name)))
      const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
      for (const change of [{ uid: 1000 }, { gid: 1000 }, { uid: 1000, gid: 1000 }])
        refused(t, 'EPERM', () => fs.setattr(nodeid, change), JSON.stringify(change))
      fs.setattr(nodeid, { uid: 1234, gid: 1234 })
    })
  }
}
