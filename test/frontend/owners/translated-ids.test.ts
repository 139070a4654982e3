/** --translate-uid, --translate-gid and --map-to-me. Needs root: other users' ids. */
import { chownSync, lstatSync, statSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { groupsExtension } from '../../support/fuse/fuse-wire.js'
import { makers, ownedDirectory } from '../../support/fuse/makers.js'
import { mount } from '../../support/fuse/mount.js'
import { statx } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const owners = (path: string) => [lstatSync(path).uid, lstatSync(path).gid]

if (!isRoot) t.plan(0, 'needs root: it makes files as other users')
else {
  t.test('map translates ids both ways, in files that are made, changed and shown', async (t) => {
    const device = await Device.start(t, [
      '--translate-uid',
      'map:0:100000:65536',
      '--translate-gid=map:0:200000:65536',
    ])
    const fs = mount(t, device)
    const open = ownedDirectory(device, fs, 0, 0o777)
    for (const [name, make] of Object.entries(makers)) {
      for (const [uid, gid] of [
        [0, 0],
        [1000, 1000],
        [65535, 65535],
      ]) {
        const file = `${name} ${uid}`
        fs.as({ uid, gid }, () => make(fs, open.node, file))
        t.same(open.owner(file), [100_000 + uid, 200_000 + gid], file)
        const { attr, nodeid } = fs.lookup(open.node, file)
        t.same([attr.uid, attr.gid], [uid, gid])
        const st = statx(fs, nodeid, 0xfff)
        t.same([st.uid, st.gid], [uid, gid])
      }
    }
    const { nodeid } = fs.lookup(open.node, 'MKDIR 0')
    const { attr } = fs.setattr(nodeid, { uid: 5, gid: 6 })
    t.same([attr.uid, attr.gid], [5, 6])
    t.same(open.owner('MKDIR 0'), [100_005, 200_006])
    const listing = fs.opendir(open.node)
    const listed = fs.readdirplus(open.node, listing.handle, 0).find(({ name }) => name === 'MKDIR 0')
    t.same([listed?.entry?.attr.uid, listed?.entry?.attr.gid], [5, 6])
  })

  t.test(
    'forbid-guest answers EPERM to such a user who makes a file, and to giving a file to it',
    async (t) => {
      const device = await Device.start(t, [
        '--translate-uid',
        'forbid-guest:1000:1',
        '--translate-gid',
        'forbid-guest:7:1',
      ])
      const fs = mount(t, device)
      const open = ownedDirectory(device, fs, 0, 0o777)
      for (const [name, make] of Object.entries(makers)) {
        refused(t, 'EPERM', () => fs.as({ uid: 1000, gid: 0 }, () => make(fs, open.node, name)))
        refused(t, 'EPERM', () => fs.as({ uid: 1, gid: 7 }, () => make(fs, open.node, name)))
        fs.as({ uid: 1001, gid: 8 }, () => make(fs, open.node, name))
      }
      const { nodeid } = fs.lookup(open.node, 'MKNOD')
      refused(t, 'EPERM', () => fs.setattr(nodeid, { uid: 1000 }))
      refused(t, 'EPERM', () => fs.setattr(nodeid, { gid: 7 }))
      t.same(open.owner('MKNOD'), [1001, 8])
    },
  )

  t.test('squash-host and host choose how users of the host appear in the guest', async (t) => {
    const device = await Device.start(t, [
      '--translate-uid',
      'squash-host:1000:65534:1000',
      '--translate-uid',
      'host:0:42:1',
    ])
    const path = `${device.directory}/file`
    writeFileSync(path, '')
    const fs = mount(t, device)
    for (const [host, guest] of [
      [0, 42],
      [1000, 65_534],
      [1999, 65_534],
      [2000, 2000],
    ]) {
      chownSync(path, host, 0)
      t.equal(fs.lookup(ROOT_ID, 'file').attr.uid, guest)
    }
  })

  t.test('a supplementary group is translated to the host’s', async (t) => {
    const device = await Device.start(t, ['--translate-gid', 'map:2000:3000:1'])
    const fs = mount(t, device)
    const shared = ownedDirectory(device, fs, 3000, 0o2777)
    const extensions = groupsExtension(2000)
    fs.as({ uid: 1000, gid: 1000, extensions }, () => fs.mknod(shared.node, 'file', 0o102755))
    t.equal(shared.stat('file').mode & 0o2000, 0o2000)
  })

  t.test(
    '--map-to-me as an ordinary user: everybody makes files, all are mine, and mine are root’s',
    async (t) => {
      const launcher = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups']
      const device = await Device.start(t, ['--map-to-me'], { launcher, owner: 1234 })
      const fs = mount(t, device)
      for (const [name, make] of Object.entries(makers)) {
        for (const uid of [0, 1000, 65_534]) {
          const file = `${name}-${uid}`
          fs.as({ uid, gid: uid }, () => make(fs, ROOT_ID, file))
          t.same(owners(`${device.directory}/${file}`), [1234, 1234])
          const { attr, nodeid } = fs.lookup(ROOT_ID, file)
          t.same([attr.uid, attr.gid], [0, 0])
          fs.setattr(nodeid, { uid: 1000, gid: 1000 })
        }
      }
      t.equal(statSync(device.directory).uid, 1234)
    },
  )
}

t.test('options that contradict each other are reported in one line, with status 2', async (t) => {
  const share = ['--shared-dir', '/usr', '--socket-path', '/tmp/no-such-socket']
  for (const [args, message] of [
    [['--translate-uid', 'map:0:0'], /--translate-uid: 'map:0:0': expected 3 whole numbers/],
    [
      ['--translate-gid', 'guest:0:1:2', '--translate-gid', 'map:1:9:1'],
      /two ranges translate the guest's id 1/,
    ],
    [['--map-to-me', '--translate-uid', 'map:0:5:1'], /--map-to-me translates users and groups itself/],
    [['--posix-acl', '--map-to-me'], /--posix-acl auto: ACLs name users and groups/],
  ] as const) {
    const { status, stderr } = runProgram([...share, ...args])
    t.equal(status, 2)
    t.match(stderr, message)
    t.equal(stderr.split('\n').length, 1)
  }
})
