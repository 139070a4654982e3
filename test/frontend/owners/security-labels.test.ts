/** --security-label: a new file has its security context before anybody can see it. Needs root. */
import { readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { EVERY_FLAG, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, groupsExtension, u32 } from '../../support/fuse/fuse-wire.js'
import { makers, ownedDirectory } from '../../support/fuse/makers.js'
import { mount } from '../../support/fuse/mount.js'
import { contextExtension, getxattr } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const LABEL = 'security.selinux'
const context = Uint8Array.from(Buffer.from('system_u:object_r:tmp_t:s0\0'))
const extension = contextExtension(LABEL, context)

const mounted = (t: Test, device: Device) => mount(t, device, { init: { flags: EVERY_FLAG } })

function makeTmpfile(fs: FuseGuest): bigint {
  const { nodeid, handle } = fs.tmpfile(ROOT_ID, 2)
  fs.release(nodeid, handle)
  return nodeid
}

if (!isRoot) t.plan(0, 'needs root: it sets security attributes')
else {
  t.test('each way to make a file sets the context of the request, with and without groups', async (t) => {
    const device = await Device.start(t, ['--security-label'])
    const fs = mounted(t, device)
    for (const [name, make] of Object.entries(makers)) {
      for (const extensions of [
        extension,
        concat(extension, groupsExtension(0)),
        concat(groupsExtension(0), extension),
      ]) {
        const file = `${name} ${extensions.length} ${extensions[4]}`
        fs.as({ extensions }, () => make(fs, ROOT_ID, file))
        t.same(getxattr(fs, fs.lookup(ROOT_ID, file).nodeid, LABEL), context, file)
      }
      make(fs, ROOT_ID, `${name} plain`)
      refused(t, 'ENODATA', () => getxattr(fs, fs.lookup(ROOT_ID, `${name} plain`).nodeid, LABEL))
    }
    t.same(
      getxattr(
        fs,
        fs.as({ extensions: extension }, () => makeTmpfile(fs)),
        LABEL,
      ),
      context,
    )
  })

  t.test('a guest that has no policy sends no context', async (t) => {
    const device = await Device.start(t, ['--security-label'])
    const fs = mounted(t, device)
    fs.as({ extensions: u32(8, 0) }, () => fs.mkdir(ROOT_ID, 'directory'))
    t.same(readdirSync(device.directory), ['directory'])
  })

  t.test(
    'a map gives the context another name, and the user needs no power over security attributes',
    async (t) => {
      const device = await Device.start(t, [
        '--security-label',
        '--xattrmap',
        ':map:security.selinux:user.virtiofs.:',
      ])
      const fs = mounted(t, device)
      const open = ownedDirectory(device, fs, 0, 0o777)
      fs.as({ uid: 1000, gid: 1000, extensions: extension }, () => fs.mkdir(open.node, 'directory'))
      t.same(getxattr(fs, fs.lookup(open.node, 'directory').nodeid, LABEL), context)
      t.same(open.owner('directory'), [1000, 1000])
    },
  )

  t.test('a file that cannot be labelled is not made', async (t) => {
    const device = await Device.start(t, [
      '--security-label',
      '--xattrmap',
      '/bad/all/security./security.//ok/all///',
    ])
    const fs = mounted(t, device)
    for (const [name, make] of Object.entries(makers))
      refused(t, 'EPERM', () => fs.as({ extensions: extension }, () => make(fs, ROOT_ID, name)), name)
    refused(t, 'EPERM', () => fs.as({ extensions: extension }, () => makeTmpfile(fs)))
    t.same(readdirSync(device.directory), [])
    const held = device.fdCount()
    for (let n = 0; n < 100; n++)
      refused(t, 'EPERM', () => fs.as({ extensions: extension }, () => makers['CREATE']?.(fs, ROOT_ID, 'x')))
    t.equal(device.fdCount(), held, 'no descriptor is left open')
  })

  t.test(
    'hostile contexts: two of them, no NUL, no name, sizes that lie: EINVAL, and nothing is made',
    async (t) => {
      const device = await Device.start(t, ['--security-label'])
      const fs = mounted(t, device)
      const text = (bytes: string) => Uint8Array.from(Buffer.from(bytes))
      const padded = (type: number, body: Uint8Array, sizeBytes = 8 + body.length) => {
        const whole = new Uint8Array((8 + body.length + 7) & ~7)
        whole.set(concat(u32(sizeBytes, type), body))
        return whole
      }
      for (const extensions of [
        padded(2, concat(u32(1, 0), text('a\0b'), u32(1, 0), text('c\0d'))),
        padded(1, concat(u32(4, 0), text('security.selinux'))),
        padded(1, concat(u32(4, 0), text('\0abcd'))),
        padded(1, concat(u32(5, 0), text('user.a\0abcd'))),
        padded(1, concat(u32(0xffff_ffff, 0), text('user.a\0abcd'))),
        padded(1, u32(0, 0)),
        padded(1, concat(u32(1, 0), text(`user.${'n'.repeat(251)}\0a`))),
      ])
        refused(
          t,
          'EINVAL',
          () => fs.as({ extensions }, () => fs.mkdir(ROOT_ID, 'x')),
          Buffer.from(extensions).toString('hex'),
        )
      t.same(readdirSync(device.directory), [])
      // A size beyond the request: there is no extension.
      fs.as({ extensions: padded(1, new Uint8Array(8), 0xffff_fff8) }, () => fs.mkdir(ROOT_ID, 'x'))
    },
  )

  t.test('the context of a guest before 7.38 is found after the name', async (t) => {
    const device = await Device.start(t, ['--security-label'])
    const fs = mounted(t, device)
    const name = concat(u32(0o755, 0), text8('old\0'), extension)
    const reply = { argBytes: 128 }
    fs.succeed({ opcode: 9, nodeid: ROOT_ID, args: name, reply })
    t.same(getxattr(fs, fs.lookup(ROOT_ID, 'old').nodeid, LABEL), context)
  })
}

function text8(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text))
}
