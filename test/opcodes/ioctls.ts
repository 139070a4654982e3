import { strict as assert } from 'node:assert'
import { constants } from 'node:fs'
import { constants as os } from 'node:os'
import type { Case, Stage } from '../support/device/cases.js'
import { Op } from '../support/fuse/fuse-abi.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FS_IOC32_GETFLAGS,
  FS_IOC32_SETFLAGS,
  ioctl,
} from '../support/fuse/posix-calls.js'
import { fails } from '../support/fuse/refusals.js'

const { O_RDONLY } = constants
const FS_NODUMP_FL = 0x40
const FS_NOATIME_FL = 0x80
const FS_XFLAG_NODUMP = 0x80
const NOTHING = new Uint8Array(0)

/** An open file and an open directory of the case. */
function withBoth(
  { fs, dir }: Stage,
  work: (node: bigint, handle: bigint, directory: boolean) => void,
): void {
  const file = fs.mknod(dir, 'file', 0o100644).nodeid
  const { handle } = fs.open(file, O_RDONLY)
  work(file, handle, false)
  fs.release(file, handle)
  const opened = fs.opendir(dir).handle
  work(dir, opened, true)
  fs.releasedir(dir, opened)
}

const flagsOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)

export const ioctlCases: readonly Case[] = [
  {
    name: 'IOCTL gets and sets the flags of a file and of a directory',
    run(stage) {
      const { fs } = stage
      withBoth(stage, (node, handle, directory) => {
        const get = () =>
          flagsOf(ioctl(fs, node, handle, FS_IOC_GETFLAGS, NOTHING, { directory, outBytes: 4 }))
        const set = (flags: number) => ioctl(fs, node, handle, FS_IOC_SETFLAGS, u32(flags), { directory })
        const before = get()
        set(before | FS_NODUMP_FL | FS_NOATIME_FL)
        assert.equal(get(), before | FS_NODUMP_FL | FS_NOATIME_FL)
        set(before)
        assert.equal(get(), before)
      })
    },
  },
  {
    name: 'IOCTL gets and sets extended flags (struct fsxattr, 28 bytes)',
    run(stage) {
      const { fs } = stage
      withBoth(stage, (node, handle, directory) => {
        const get = () => ioctl(fs, node, handle, FS_IOC_FSGETXATTR, NOTHING, { directory, outBytes: 28 })
        const before = Uint8Array.from(get())
        const after = Uint8Array.from(before)
        after.set(u32(flagsOf(before) | FS_XFLAG_NODUMP))
        ioctl(fs, node, handle, FS_IOC_FSSETXATTR, after, { directory })
        assert.equal(flagsOf(get()), flagsOf(after))
        ioctl(fs, node, handle, FS_IOC_FSSETXATTR, before, { directory })
        assert.equal(flagsOf(get()), flagsOf(before))
      })
    },
  },
  {
    name: 'IOCTL by the numbers of a 32-bit kernel, where a long has 4 bytes',
    run(stage) {
      const { fs } = stage
      withBoth(stage, (node, handle, directory) => {
        const options = { directory, is32Bit: true }
        const get = () =>
          flagsOf(ioctl(fs, node, handle, FS_IOC32_GETFLAGS, NOTHING, { ...options, outBytes: 4 }))
        const set = (flags: number) => ioctl(fs, node, handle, FS_IOC32_SETFLAGS, u32(flags), options)
        const before = get()
        set(before | FS_NODUMP_FL)
        assert.equal(get(), before | FS_NODUMP_FL)
        set(before)
        assert.equal(get(), before)
      })
    },
  },
  {
    name: 'every other command is ENOTTY and reaches nothing: FIONREAD, FICLONE, TIOCSTI, BLKDISCARD, any number',
    run(stage) {
      const { fs } = stage
      withBoth(stage, (node, handle, directory) => {
        for (const command of [0x541b, 0x4004_9409, 0x5412, 0x1277, 0, 0xffff_ffff, 0x8008_6602, 0x6601])
          for (const argument of [NOTHING, u32(1), new Uint8Array(4096).fill(255)])
            fails('ENOTTY', () => ioctl(fs, node, handle, command, argument, { directory }), `${command}`)
      })
    },
  },
  {
    name: 'hostile IOCTLs: handles of the wrong kind, sizes that lie, no room: an error, and nothing changes',
    run(stage) {
      const { fs, dir } = stage
      withBoth(stage, (node, handle, directory) => {
        const wrong = { directory: !directory, outBytes: 4 }
        fails('EBADF', () =>
          ioctl(fs, node, handle + 1000n, FS_IOC_GETFLAGS, NOTHING, { directory, outBytes: 4 }),
        )
        fails('EBADF', () => ioctl(fs, node, handle + (1n << 32n), FS_IOC_GETFLAGS, NOTHING, wrong))
        fails('EINVAL', () => ioctl(fs, node, handle, FS_IOC_GETFLAGS, NOTHING, { directory, outBytes: 3 }))
        fails('EINVAL', () => ioctl(fs, node, handle, FS_IOC_GETFLAGS, NOTHING, { directory, outBytes: 65 }))
        fails('EINVAL', () => ioctl(fs, node, handle, FS_IOC_SETFLAGS, new Uint8Array(3), { directory }))
        fails('EINVAL', () => ioctl(fs, node, handle, FS_IOC_SETFLAGS, u32(0), { directory, inBytes: 5 }))
        fails('EINVAL', () =>
          ioctl(fs, node, handle, FS_IOC_SETFLAGS, u32(0), { directory, inBytes: 0xffff_ffff }),
        )
      })
      const args = concat(u64(1), u32(0, FS_IOC_GETFLAGS), u64(0), u32(0, 0xffff_ffff))
      const { error } = fs.call({ opcode: Op.IOCTL, nodeid: dir, args, reply: { argBytes: 16 } })
      assert.ok(error === os.errno.EINVAL || error === os.errno.EBADF)
    },
  },
]
