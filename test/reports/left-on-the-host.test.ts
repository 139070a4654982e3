/** What a guest may leave on the host: set-user-id programs, device nodes, project ids. */
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { runProgram } from '../support/device/program.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { u32 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  ioctl,
  setxattr,
} from '../support/fuse/posix-calls.js'
import { fails } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

const O_RDONLY = 0
const O_RDWR = 2
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000
const PROJECT_AT = 12
const FS_XFLAG_PROJINHERIT = 0x200
const FS_PROJINHERIT_FL = 0x2000_0000
const NOTHING = new Uint8Array(0)
/** struct vfs_cap_data, version 2: CAP_SETUID permitted and effective. */
const CAPABILITY = u32(0x0200_0001, 1 << 7, 0, 0, 0)

const asRoot = isRoot ? {} : { skip: 'needs root: device nodes' }

t.test('--no-suid refuses set-id bits and file capabilities', asRoot, async (t) => {
  const device = await Device.start(t, ['--no-suid'])
  const fs = mount(t, device)
  const { nodeid } = fs.create(ROOT_ID, 'file', O_RDWR)
  for (const mode of [0o104755, 0o102755, 0o106755, 0o102644])
    fails('EPERM', () => fs.setattr(nodeid, { mode }), `chmod ${mode.toString(8)}`)
  fails('EPERM', () => fs.mknod(ROOT_ID, 'other', 0o104755))
  fails('EPERM', () => fs.create(ROOT_ID, 'other', O_RDWR, 0o4755))
  fails('EPERM', () => setxattr(fs, nodeid, 'security.capability', CAPABILITY))
  fs.setattr(nodeid, { mode: 0o100755 })
  const directory = fs.mkdir(ROOT_ID, 'dir').nodeid
  fs.setattr(directory, { mode: 0o042775 })
  t.equal(
    statSync(join(device.directory, 'dir')).mode & 0o7777,
    0o2775,
    'directories have the bit for their groups',
  )
  writeFileSync(join(device.directory, 'program'), 'of the host')
  chmodSync(join(device.directory, 'program'), 0o4755)
  const program = fs.lookup(ROOT_ID, 'program').nodeid
  fs.open(program, O_RDONLY)
  t.equal(statSync(join(device.directory, 'program')).mode & 0o7777, 0o4755)
  fs.open(program, O_RDWR)
  t.equal(statSync(join(device.directory, 'program')).mode & 0o7777, 0o755, 'one that the guest may change')
  chmodSync(join(device.directory, 'program'), 0o6755)
  fs.setattr(program, { size: 1 })
  t.equal(statSync(join(device.directory, 'program')).mode & 0o7777, 0o755, 'one that the guest has cut')
  const { handle } = fs.open(program, O_RDWR)
  chmodSync(join(device.directory, 'program'), 0o6755)
  fs.setattr(program, { size: 2, handle })
  t.equal(statSync(join(device.directory, 'program')).mode & 0o7777, 0o755, 'one that is cut by a handle')
})

t.test('--no-dev refuses device nodes', asRoot, async (t) => {
  const device = await Device.start(t, ['--no-dev'])
  const fs = mount(t, device)
  for (const type of [S_IFCHR, S_IFBLK]) fails('EPERM', () => fs.mknod(ROOT_ID, 'node', type | 0o600, 0x103))
  fs.mknod(ROOT_ID, 'whiteout', S_IFCHR, 0)
  fs.mknod(ROOT_ID, 'pipe', 0o010644)
  const { nodeid } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.setattr(nodeid, { mode: 0o104755 })
})

for (const option of [[], ['--allow-project-ids']]) {
  t.test(`project ids ${option.length === 0 ? 'stay as they are' : 'may be changed'}`, asRoot, async (t) => {
    const device = await Device.start(t, option, { storage: 'disk' })
    const fs = mount(t, device)
    const { nodeid } = fs.mkdir(ROOT_ID, 'dir')
    const { handle } = fs.opendir(nodeid)
    const get = (command: number, outBytes: number) =>
      Uint8Array.from(ioctl(fs, nodeid, handle, command, NOTHING, { directory: true, outBytes }))
    const set = (command: number, argument: Uint8Array) =>
      ioctl(fs, nodeid, handle, command, argument, { directory: true })
    const extended = get(FS_IOC_FSGETXATTR, 28)
    const changed = (at: number, bits: number) => {
      const bytes = Uint8Array.from(extended)
      const view = new DataView(bytes.buffer)
      view.setUint32(at, view.getUint32(at, true) ^ bits, true)
      return bytes
    }
    set(FS_IOC_FSSETXATTR, extended)
    const flags = new DataView(get(FS_IOC_GETFLAGS, 4).buffer).getUint32(0, true)
    set(FS_IOC_SETFLAGS, u32(flags))
    if (option.length === 0) {
      fails('EPERM', () => set(FS_IOC_FSSETXATTR, changed(PROJECT_AT, 7)))
      fails('EPERM', () => set(FS_IOC_FSSETXATTR, changed(0, FS_XFLAG_PROJINHERIT)))
      fails('EPERM', () => set(FS_IOC_SETFLAGS, u32((flags ^ FS_PROJINHERIT_FL) >>> 0)))
    } else {
      // A file system without project quotas refuses project ids itself, with its own error.
      for (const [argument, at] of [[changed(PROJECT_AT, 7), PROJECT_AT]] as const) {
        try {
          set(FS_IOC_FSSETXATTR, argument)
          t.equal(new DataView(get(FS_IOC_FSGETXATTR, 28).buffer).getUint32(at, true), 7)
        } catch (error) {
          t.not((error as { code: string }).code, 'EPERM')
        }
      }
    }
  })
}

t.test('a start warns when users of the host can reach what a guest leaves', asRoot, async (t) => {
  const directory = tempDir(t)
  const share = join(directory, 'share')
  mkdirSync(share)
  chownSync(share, 0, 0)
  const check = (...args: string[]) =>
    runProgram(['check-config', '--shared-dir', share, '--socket-path', join(directory, 'socket'), ...args])
      .stdout
  chmodSync(directory, 0o700)
  t.notMatch(check(), /warning/, 'nobody can enter')
  chmodSync(directory, 0o755)
  chmodSync(share, 0o755)
  t.match(check(), /warning: the guest can leave set-user-id programs and device nodes here/)
  t.notMatch(check('--no-suid', '--no-dev'), /warning/)
  t.notMatch(check('--readonly'), /warning/)
})
