/**
 * The host removes or replaces a file while the guest remembers its name. The guest's later writes are not lost in the
 * old file: ESTALE makes its kernel look the name up again.
 */
import { chmodSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { policies, users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { fails } from '../support/fuse/refusals.js'

const O_RDONLY = 0
const O_RDWR = 2
const O_TRUNC = 0o1000
const O_APPEND = 0o2000

t.setTimeout(200_000)

for (const [user, options] of Object.entries(users)) {
  for (const [policy, args] of Object.entries(policies)) {
    // Under never, the guest looks each name up before it opens it.
    if (policy === 'never') continue
    for (const storage of policy === 'auto' ? (['memory', 'disk'] as const) : (['memory'] as const)) {
      t.test(`${user}, ${policy}, ${storage}`, async (t) => {
        const device = await Device.start(t, args, { ...options, storage })
        const fs = mount(t, device)
        const path = join(device.directory, 'file')
        const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR, 0o644)
        fs.write(nodeid, handle, 0, Buffer.from('of the guest'))
        fs.release(nodeid, handle)
        const held = device.fdCount()

        rmSync(path)
        // Linux looks the name up before the same thread asks again.
        for (const flags of [O_RDONLY, O_RDWR, O_RDWR | O_TRUNC, O_RDWR | O_APPEND])
          fails('ESTALE', () => fs.as({ pid: 100 + flags }, () => fs.open(nodeid, flags)))
        t.equal(device.fdCount(), held)

        const other = fs.create(ROOT_ID, 'file', O_RDWR, 0o644)
        fs.release(other.nodeid, other.handle)
        writeFileSync(`${path}.new`, 'of the host')
        renameSync(`${path}.new`, path)
        fails('ESTALE', () => fs.open(other.nodeid, O_RDWR))
        const found = fs.lookup(ROOT_ID, 'file').nodeid
        const reopened = fs.open(found, O_RDONLY)
        t.equal(Buffer.from(fs.read(found, reopened.handle, 0, 100)).toString(), 'of the host')
        fs.release(found, reopened.handle)

        linkSync(path, `${path}.backup`)
        rmSync(path)
        const again = fs.open(found, O_RDONLY)
        fs.release(found, again.handle)
        t.equal(readFileSync(`${path}.backup`, 'utf8'), 'of the host')
      })

      t.test(`${user}, ${policy}, ${storage}: a file that is open can be opened by /proc`, async (t) => {
        const device = await Device.start(t, args, { ...options, storage })
        const fs = mount(t, device)
        const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR, 0o644)
        fs.unlink(ROOT_ID, 'file')
        fs.write(nodeid, handle, 0, Buffer.from('text'))
        // Linux asks again, and would look a name up before: by /proc/self/fd there is none.
        fails('ESTALE', () => fs.open(nodeid, O_RDWR))
        const second = fs.open(nodeid, O_RDWR)
        t.equal(Buffer.from(fs.read(nodeid, second.handle, 0, 100)).toString(), 'text')
        fs.release(nodeid, handle)
        fails('ESTALE', () => fs.open(nodeid, O_RDONLY))
        fs.open(nodeid, O_RDONLY)
      })

      t.test(
        `${user}, ${policy}, ${storage}: a file that the host removes while the guest has it open`,
        async (t) => {
          const device = await Device.start(t, args, { ...options, storage })
          const fs = mount(t, device)
          const path = join(device.directory, 'file')
          const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR, 0o666)
          fs.write(nodeid, handle, 0, Buffer.from('of the guest'))
          rmSync(path)
          writeFileSync(path, 'of the host')
          chmodSync(path, 0o666)
          fails('ESTALE', () => fs.open(nodeid, O_RDWR | O_APPEND))
          const found = fs.lookup(ROOT_ID, 'file').nodeid
          const again = fs.open(found, O_RDWR)
          fs.write(found, again.handle, 0, Buffer.from('OF'))
          t.equal(readFileSync(path, 'utf8'), 'OF the host')
          t.equal(
            Buffer.from(fs.read(nodeid, handle, 0, 100)).toString(),
            'of the guest',
            'what is open is as before',
          )
        },
      )

      t.test(
        `${user}, ${policy}, ${storage}: a directory that the host removes and makes again`,
        async (t) => {
          const device = await Device.start(t, args, { ...options, storage })
          const fs = mount(t, device)
          const path = join(device.directory, 'directory')
          mkdirSync(path)
          writeFileSync(join(path, 'old'), '')
          chmodSync(path, 0o777)
          const before = fs.lookup(ROOT_ID, 'directory').nodeid
          fs.lookup(before, 'old')
          rmSync(path, { recursive: true })
          mkdirSync(path)
          writeFileSync(join(path, 'new'), '')
          for (const name of ['old', 'new']) fails('ESTALE', () => fs.lookup(before, name))
          fails('ESTALE', () => fs.unlink(before, 'old'))
          fails('ESTALE', () => fs.rename(before, 'old', ROOT_ID, 'moved'))
          fails('ESTALE', () => fs.opendir(before))
          const after = fs.lookup(ROOT_ID, 'directory').nodeid
          fs.lookup(after, 'new')
          fails('ENOENT', () => fs.lookup(after, 'old'))
          fs.releasedir(before, fs.opendir(before).handle)
        },
      )

      t.test(
        `${user}, ${policy}, ${storage}: a file that the guest removed can be opened by an O_PATH descriptor`,
        async (t) => {
          const few = policy === 'always' && user === 'root' ? ['--rlimit-nofile', '512'] : []
          const device = await Device.start(t, [...args, ...few], { ...options, storage })
          const fs = mount(t, device)
          const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR, 0o644)
          fs.write(nodeid, handle, 0, Buffer.from('text'))
          fs.release(nodeid, handle)
          fs.unlink(ROOT_ID, 'file')
          // More files than the device has descriptors.
          for (let n = 0; n < (few.length > 0 ? 1000 : 0); n++) {
            const other = fs.create(ROOT_ID, `${n}`, O_RDWR, 0o644)
            fs.release(other.nodeid, other.handle)
          }
          for (const flags of [O_RDWR, O_RDONLY]) {
            // Linux asks again, and would look a name up before: by /proc/self/fd there is none.
            fails('ESTALE', () => fs.as({ pid: 5 }, () => fs.open(nodeid, flags)))
            fails('ESTALE', () => fs.as({ pid: 6 }, () => fs.open(nodeid, flags)))
            const again = fs.as({ pid: 5 }, () => fs.open(nodeid, flags))
            t.equal(Buffer.from(fs.read(nodeid, again.handle, 0, 100)).toString(), 'text')
            fs.release(nodeid, again.handle)
            fs.as({ pid: 6 }, () => fs.release(nodeid, fs.open(nodeid, flags).handle))
          }
        },
      )
    }
  }
}

t.test(
  'a file that the guest has removed and forgotten keeps no disk space',
  { skip: !isRoot && 'needs root: it opens file handles' },
  async (t) => {
    const device = await Device.start(t, ['--rlimit-nofile', '512'])
    const fs = mount(t, device)
    // More files than the device has descriptors: those of the first are closed, and their file handles are kept.
    const files = Array.from({ length: 1000 }, (_, n) => {
      const { nodeid, handle } = fs.create(ROOT_ID, `${n}`, O_RDWR, 0o644)
      fs.release(nodeid, handle)
      return nodeid
    })
    for (let n = 0; n < 10; n++) {
      fs.unlink(ROOT_ID, `${n}`)
      fs.forget(files[n]!, 1)
    }
    t.same(
      device.openFiles().filter((path) => path.startsWith(device.directory) && path.endsWith('(deleted)')),
      [],
    )
  },
)
