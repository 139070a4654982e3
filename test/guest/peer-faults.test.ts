/**
 * Faults of the Rust virtiofsd 1.14: each is a test that it fails and our device passes. The guest is played without a
 * VM, except for faults that only a kernel sees.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type DeviceName, DeviceProcess } from '../../vm/device/device-process.js'
import { bootGuest } from '../../vm/guest/guest.js'
import { isRoot } from '../support/device/cases.js'
import { sleep } from '../support/device/device.js'
import { EVERY_FLAG, flagBits, Init, Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import { type FuseGuest, LINUX_7_3 } from '../support/fuse/fuse-guest.js'
import { cstring, groupsExtension, u32 } from '../support/fuse/fuse-wire.js'
import { type GuestOptions, mount } from '../support/fuse/mount.js'
import { contextExtension } from '../support/fuse/posix-calls.js'
import { errorOf } from '../support/fuse/refusals.js'

const OURS: DeviceName = 'virtiofsd-ts'
const PEER: DeviceName = 'virtiofsd-1.14'
const [O_WRONLY, O_RDWR, O_DIRECT] = [1, 2, 0o40000]
const DIED_MS = 3_000

/** A share on which a fault is looked for. */
interface Scene {
  readonly t: Test
  readonly device: DeviceProcess
  readonly path: string
  mount(options?: GuestOptions & { flags?: bigint }): FuseGuest
  fdCount(): number
}

interface Fault {
  readonly name: string
  readonly args?: readonly string[]
  /** Options of our device for which virtiofsd has none. */
  readonly ourArgs?: readonly string[]
  /** Returns true if the device is free of the fault. The device may also end, or the function throw. */
  behaves(scene: Scene): boolean | Promise<boolean>
}

const faults: readonly Fault[] = [
  {
    name: 'CREATE for writing under --writeback: the guest reads the page that it writes a part of',
    args: ['--writeback'],
    behaves({ mount }) {
      const fs = mount({ flags: LINUX_7_3.flags })
      const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_WRONLY)
      fs.write(nodeid, handle, 0, Uint8Array.of(1, 2, 3))
      return fs.read(nodeid, handle, 0, 4096).length === 3
    },
  },
  {
    name: 'CREATE with O_DIRECT, without --allow-direct-io: any length can be written',
    behaves({ mount }) {
      const fs = mount()
      const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR | O_DIRECT)
      return fs.write(nodeid, handle, 0, Uint8Array.of(1, 2, 3)) === 3
    },
  },
  {
    name: 'DESTROY is answered',
    behaves({ mount }) {
      const fs = mount()
      return fs.call({ opcode: Op.DESTROY, nodeid: 0, reply: EMPTY }).error === 0
    },
  },
  {
    name: 'the supplementary group of a caller that is root is not left to the next caller',
    behaves({ mount, path }) {
      mkdirSync(`${path}/shared`)
      chownSync(`${path}/shared`, 0, 2000)
      chmodSync(`${path}/shared`, 0o2777)
      const fs = mount()
      const { nodeid } = fs.lookup(ROOT_ID, 'shared')
      fs.as({ uid: 0, gid: 0, extensions: groupsExtension(2000) }, () => fs.mkdir(nodeid, 'directory'))
      const { attr } = fs.as({ uid: 1000, gid: 1000 }, () => fs.mknod(nodeid, 'file', 0o102775))
      return (attr.mode & 0o2000) === 0
    },
  },
  {
    name: 'more than one request queue',
    behaves({ mount }) {
      const fs = mount({ requestQueues: 3 })
      for (const queue of [1, 2, 3]) {
        fs.queue = queue
        fs.getattr(ROOT_ID)
      }
      return true
    },
  },
  {
    name: 'a security context that cannot be set leaves no descriptor',
    args: ['--security-label', '--xattr', '--xattrmap', '/bad/all/security./security.//ok/all///'],
    behaves({ mount, fdCount }) {
      const fs = mount({ flags: EVERY_FLAG })
      const extensions = contextExtension('security.selinux', Uint8Array.of(1))
      const held = fdCount()
      for (let n = 0; n < 20; n++)
        errorOf(() => fs.as({ extensions }, () => fs.create(ROOT_ID, `file-${n}`, O_RDWR)))
      return fdCount() === held
    },
  },
  {
    name: 'CREATE of a file that is there and cannot be opened grants no lookup',
    args: ['--inode-file-handles=never'],
    behaves({ mount, path, fdCount }) {
      symlinkSync('nowhere', `${path}/link`)
      const fs = mount()
      const held = fdCount()
      errorOf(() => fs.create(ROOT_ID, 'link', O_RDWR))
      return fdCount() === held
    },
  },
  {
    name: 'names are single components, also without a sandbox',
    behaves({ mount, path }) {
      writeFileSync(join(path, '..', `${path.split('/').at(-1)}-outside`), '')
      const fs = mount()
      const reply = { argBytes: 128 }
      const names = ['..', `../${path.split('/').at(-1)}-outside`]
      const found = names.map((name) =>
        fs.call({ opcode: Op.LOOKUP, nodeid: ROOT_ID, args: cstring(name), reply }),
      )
      rmSync(`${path}-outside`)
      return found.every(({ error }) => error !== 0)
    },
  },
  {
    name: 'a malformed request ends neither the process nor the session',
    behaves: async ({ mount, device }) => {
      const fs = mount()
      const short = { opcode: Op.GETATTR, nodeid: ROOT_ID, args: u32(0), reply: { argBytes: 104 } }
      fs.start({ ...short, headerLenBytes: 4096 })
      await Promise.race([device.exited, sleep(DIED_MS / 10)])
      if (device.ended) return false
      fs.finish()
      return fs.getattr(ROOT_ID).attr.nlink > 0
    },
  },
  {
    name: 'a guest that takes set-user-id bits itself is not left to truncate by OPEN, at which Linux takes none',
    ourArgs: ['--no-killpriv-v2'],
    behaves({ mount }) {
      const { flags } = mount().init({ flags: EVERY_FLAG })
      return (flags & flagBits(Init.HANDLE_KILLPRIV_V2, Init.ATOMIC_O_TRUNC)) === 0n
    },
  },
  {
    name: 'a directory is listed when one of its children cannot be looked up',
    args: ['--rlimit-nofile', '700', '--inode-file-handles=never'],
    behaves({ mount, path }) {
      for (let n = 0; n < 900; n++) writeFileSync(`${path}/file-${n}`, '')
      const fs = mount()
      const { handle } = fs.opendir(ROOT_ID)
      const names = new Set<string>()
      for (let offset = 0n; ; ) {
        const dirents = fs.readdirplus(ROOT_ID, handle, offset, 65_536)
        if (dirents.length === 0) break
        for (const { name } of dirents) names.add(name)
        offset = dirents.at(-1)?.off ?? 0n
      }
      return names.size === 902
    },
  },
  {
    name: 'another front-end is served when one has left',
    ourArgs: ['--keep-alive'],
    behaves: async ({ mount, device }) => {
      const first = mount()
      first.getattr(ROOT_ID)
      first.close()
      await Promise.race([device.exited, sleep(DIED_MS / 10)])
      if (device.ended) return false
      return mount().getattr(ROOT_ID).attr.nlink > 0
    },
  },
]

async function tryFault(t: Test, name: DeviceName, fault: Fault): Promise<boolean> {
  const path = mkdtempSync(join(tmpdir(), 'peer-fault-'))
  chmodSync(path, 0o777)
  const device = await DeviceProcess.start({
    device: name,
    sharedDir: path,
    args: ['--sandbox', 'none', ...(fault.args ?? []), ...(name === OURS ? (fault.ourArgs ?? []) : [])],
  })
  t.teardown(async () => {
    await device.stop()
    rmSync(path, { recursive: true, force: true })
  })
  const flags = LINUX_7_3.flags & ~flagBits(Init.WRITEBACK_CACHE)
  const scene: Scene = {
    t,
    device,
    path,
    mount: (options = {}) => mount(t, device, { ...options, init: { flags: options.flags ?? flags } }),
    fdCount: () => readdirSync(`/proc/${device.pid}/fd`).length,
  }
  try {
    return await fault.behaves(scene)
  } catch (error) {
    t.comment(`${name}: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
    return false
  }
}

t.setTimeout(600_000)

if (!isRoot) t.plan(0, 'needs root: files of other users')
else {
  for (const fault of faults) {
    t.test(fault.name, async (t) => {
      t.ok(await tryFault(t, OURS, fault), 'we behave')
      t.notOk(await tryFault(t, PEER, fault), `${PEER} has the fault: or does it no more?`)
    })
  }

  t.test('a guest of Linux 7 finds every reply in order, that to its last request too', async (t) => {
    const complaints = async (name: DeviceName) => {
      const path = mkdtempSync(join(tmpdir(), 'peer-fault-'))
      const device = await DeviceProcess.start({ device: name, sharedDir: path })
      t.teardown(async () => {
        await device.stop()
        rmSync(path, { recursive: true, force: true })
      })
      const guest = await bootGuest({
        kernel: '7',
        qemu: '11',
        shares: [{ tag: 'files', socketPath: device.socketPath }],
      })
      t.teardown(() => guest.kill())
      await guest.mount('files', '/files')
      await guest.output('echo text > /files/file && umount /files')
      const log = await guest.kernelLog()
      await guest.shutdown()
      return log.filter(({ text }) => /response too short/.test(text)).length
    }
    t.equal(await complaints(OURS), 0)
    t.not(await complaints(PEER), 0)
  })
}
