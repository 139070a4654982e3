/** chattr +i and +a in the guest need a capability that the device keeps only with --modcaps. */
import { constants } from 'node:fs'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, ioctl } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const { O_RDONLY } = constants
const FS_IMMUTABLE_FL = 0x10
const FS_APPEND_FL = 0x20

function openFile(fs: FuseGuest) {
  const { nodeid } = fs.mknod(ROOT_ID, 'file', 0o100644)
  const { handle } = fs.open(nodeid, O_RDONLY)
  const get = () => {
    const { buffer, byteOffset } = ioctl(fs, nodeid, handle, FS_IOC_GETFLAGS, new Uint8Array(0), {
      outBytes: 4,
    })
    return new DataView(buffer, byteOffset).getUint32(0, true)
  }
  const set = (flags: number) => ioctl(fs, nodeid, handle, FS_IOC_SETFLAGS, u32(flags))
  return { get, set }
}

t.test(
  'by default: not supported, like a flag that the file system lacks; the log says what it takes',
  async (t) => {
    const device = await Device.start(t)
    const { get, set } = openFile(mount(t, device))
    const before = get()
    for (const flag of [FS_IMMUTABLE_FL, FS_APPEND_FL]) refused(t, 'ENOTSUP', () => set(before | flag))
    t.equal(get(), before)
    const line = await device.waitForLog(({ msg }) => msg.startsWith('the host refuses inode flags'))
    t.match(line, { level: 40, hint: /--modcaps \+LINUX_IMMUTABLE/ })
  },
)

t.test(
  'with --modcaps +LINUX_IMMUTABLE they are set and taken away',
  { skip: !isRoot && 'needs root: it keeps a capability' },
  async (t) => {
    const device = await Device.start(t, ['--modcaps', '+LINUX_IMMUTABLE'])
    const { get, set } = openFile(mount(t, device))
    const before = get()
    for (const flag of [FS_IMMUTABLE_FL, FS_APPEND_FL]) {
      set(before | flag)
      t.equal(get(), before | flag)
      set(before)
    }
    t.equal(get(), before)
  },
)
