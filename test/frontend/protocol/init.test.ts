/** INIT in every variant, DESTROY, and requests before and after them. */
import { existsSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import t from 'tap'
import { Device } from '../../support/device/device.js'
import { EVERY_FLAG, flagBits, Init, Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { EMPTY } from '../../support/fuse/fuse-client.js'
import { u32 } from '../../support/fuse/fuse-wire.js'
import { attach, mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'

const WITHOUT_OPTIONS = flagBits(
  Init.ASYNC_READ,
  Init.ATOMIC_O_TRUNC,
  Init.BIG_WRITES,
  Init.HAS_IOCTL_DIR,
  Init.HANDLE_KILLPRIV_V2,
  Init.AUTO_INVAL_DATA,
  Init.ASYNC_DIO,
  Init.PARALLEL_DIROPS,
  Init.MAX_PAGES,
  Init.SUBMOUNTS,
  Init.INIT_EXT,
  Init.CREATE_SUPP_GROUP,
  Init.ALLOW_IDMAP,
)
const READDIRPLUS = flagBits(Init.DO_READDIRPLUS, Init.READDIRPLUS_AUTO)
const ACLS = flagBits(Init.POSIX_ACL, Init.DONT_MASK, Init.SETXATTR_EXT)
/** A guest that clears the bits itself does so before it truncates, not at an open that truncates. */
const KILLPRIV = flagBits(Init.HANDLE_KILLPRIV_V2, Init.ATOMIC_O_TRUNC)
const LOWER_WORD = 0xffff_ffffn
const MIB = 1 << 20

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

t.test('of all flags offered, the reply has just those that are served', async (t) => {
  const fs = attach(t, device)
  t.strictSame(fs.init({ flags: EVERY_FLAG, maxReadahead: 123_456 }), {
    major: 7,
    minor: 45,
    maxReadahead: 123_456,
    flags: WITHOUT_OPTIONS | READDIRPLUS,
    maxBackground: 65_535,
    congestionThreshold: 49_151,
    maxWrite: MIB,
    timeGran: 1,
    maxPages: 256,
    mapAlignment: 0,
    maxStackDepth: 0,
  })
  fs.close()
})

t.test('no flag that was not offered is in the reply, whichever is left out', async (t) => {
  const fs = attach(t, device)
  for (let bit = 0; bit < 64; bit++) {
    const flags = EVERY_FLAG & ~(1n << BigInt(bit))
    const reply = fs.init({ flags })
    const alone = bit === Init.INIT_EXT ? ~LOWER_WORD | flagBits(bit) : flagBits(bit)
    const together = [READDIRPLUS, KILLPRIV].find((flags) => (flags & alone) !== 0n)
    // DO_READDIRPLUS alone is agreed on.
    const lacking = bit === Init.READDIRPLUS_AUTO ? alone : (together ?? alone)
    t.equal(reply.flags, (WITHOUT_OPTIONS | READDIRPLUS) & ~lacking, `without bit ${bit}`)
    t.equal(reply.maxPages, bit === Init.MAX_PAGES ? 0 : 256)
  }
  t.equal(fs.init({ flags: 0n }).flags, 0n)
  fs.close()
})

t.test('the upper word counts only with INIT_EXT, and only when it came along', async (t) => {
  const fs = attach(t, device)
  const upper = flagBits(Init.CREATE_SUPP_GROUP, Init.ALLOW_IDMAP)
  t.equal(fs.init({ flags: upper }).flags, 0n)
  t.equal(fs.init({ flags: upper | flagBits(Init.INIT_EXT), argBytes: 20 }).flags, upper | (1n << 30n))
  for (const argBytes of [16, 17, 19])
    t.equal(fs.init({ flags: upper | flagBits(Init.INIT_EXT), argBytes }).flags, 1n << 30n, `${argBytes}`)
  fs.close()
})

t.test('a guest of any minor from 27 on gets its own back, at most ours', async (t) => {
  const fs = attach(t, device)
  for (const [minor, answered] of [
    [27, 27],
    [31, 31],
    [36, 36],
    [38, 38],
    [39, 39],
    [45, 45],
    [46, 45],
    [0xffff_ffff, 45],
  ] as const) {
    t.equal(fs.init({ minor }).minor, answered)
    t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
  }
  fs.close()
})

t.test('a guest that is too old gets EPROTO, and there is no session', async (t) => {
  const fs = attach(t, device)
  for (const offer of [{ minor: 26 }, { minor: 0 }, { major: 6 }, { major: 0 }]) {
    refused(t, 'EPROTO', () => fs.init(offer))
    refused(t, 'EIO', () => fs.getattr(ROOT_ID))
  }
  t.ok(
    await device.waitForLog((line) => line.msg.startsWith('INIT of an unknown version') && line.minor === 26),
  )
  fs.close()
})

t.test('a guest of a later major version is told ours, and asks again', async (t) => {
  const fs = attach(t, device)
  const { major, minor } = fs.init({ major: 8, minor: 0 })
  t.same([major, minor], [7, 45])
  refused(t, 'EIO', () => fs.getattr(ROOT_ID), 'no session yet')
  t.equal(fs.init({ major, minor }).minor, 45)
  t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
  fs.close()
})

t.test('an INIT that is too short gets EINVAL', async (t) => {
  const fs = attach(t, device)
  for (const lenBytes of [0, 4, 15]) {
    const args = u32(7, 46, 0, 0).subarray(0, lenBytes)
    const reply = { argBytes: 0, dataBytes: 64 }
    t.equal(fs.call({ opcode: Op.INIT, nodeid: 0, args, reply }).error, os.errno.EINVAL)
  }
  fs.close()
})

t.test(
  'before INIT and after DESTROY every request gets EIO, except FORGET, which has no reply',
  async (t) => {
    const fs = attach(t, device)
    const everything = Object.values(Op).filter((opcode) => opcode !== Op.INIT)
    const silent: number[] = [Op.FORGET, Op.BATCH_FORGET]
    const tryAll = () => {
      for (const opcode of everything) {
        const request = { opcode, nodeid: ROOT_ID, args: new Uint8Array(128) }
        if (silent.includes(opcode)) fs.call({ ...request, reply: 'none' })
        else t.equal(fs.call({ ...request, reply: EMPTY }).error, os.errno.EIO, `opcode ${opcode}`)
      }
    }
    tryAll()
    fs.init()
    fs.destroy()
    tryAll()
    t.ok(await device.waitForLog((line) => line.msg === 'request before INIT'))
    fs.close()
  },
)

for (const [how, begin] of [
  ['DESTROY and INIT', true],
  ['INIT again, as after a reboot', false],
] as const) {
  t.test(
    `${how}: node ids and handles of the session before are worth nothing, nothing is left open`,
    async (t) => {
      writeFileSync(`${device.directory}/file`, 'text')
      const fs = mount(t, device)
      const held = device.fdCount()
      const { nodeid } = fs.lookup(ROOT_ID, 'file')
      const { handle } = fs.open(nodeid, 0)
      const directory = fs.opendir(ROOT_ID).handle
      fs.readdirplus(ROOT_ID, directory, 0)
      if (begin) fs.destroy()
      fs.init()
      t.equal(device.fdCount(), held)
      for (const attempt of [
        () => fs.getattr(nodeid),
        () => fs.read(nodeid, handle, 0, 4),
        () => fs.readdir(ROOT_ID, directory, 0),
      ])
        refused(t, 'EBADF', attempt)
      t.equal(fs.lookup(ROOT_ID, 'file').attr.size, 4n)
      fs.close()
    },
  )
}

t.test('each option puts its flag into the reply, where the guest offers it', async (t) => {
  for (const [args, added] of [
    [['--allow-mmap'], flagBits(Init.DIRECT_IO_ALLOW_MMAP) | READDIRPLUS],
    [['--writeback'], flagBits(Init.WRITEBACK_CACHE) | READDIRPLUS],
    [['--no-readdirplus'], 0n],
    [['--cache', 'never'], 0n],
    [['--cache', 'auto'], READDIRPLUS],
    [['--cache', 'metadata'], READDIRPLUS | flagBits(Init.CACHE_SYMLINKS)],
    [['--cache', 'always'], READDIRPLUS | flagBits(Init.CACHE_SYMLINKS)],
    [['--cache', 'always', '--no-readdirplus'], flagBits(Init.CACHE_SYMLINKS)],
    [['--parallel-dio', '--allow-direct-io', '--readonly'], READDIRPLUS],
    [['--posix-acl'], READDIRPLUS | ACLS],
    [['--posix-acl', 'never'], READDIRPLUS],
    [['--security-label=auto'], READDIRPLUS | flagBits(Init.SECURITY_CTX)],
    [['--posix-lock'], READDIRPLUS | flagBits(Init.POSIX_LOCKS)],
    [['--flock'], READDIRPLUS | flagBits(Init.FLOCK_LOCKS)],
    [['--export'], READDIRPLUS | flagBits(Init.EXPORT_SUPPORT)],
  ] as const) {
    const device = await Device.start(t, [...args, '--keep-alive'])
    const fs = attach(t, device)
    t.equal(fs.init({ flags: EVERY_FLAG }).flags, WITHOUT_OPTIONS | added, args.join(' '))
    t.equal(fs.init({ flags: EVERY_FLAG & ~added }).flags, WITHOUT_OPTIONS & ~added)
    fs.close()
  }
})

t.test('options that are on by default are switched off', async (t) => {
  for (const [args, missing] of [
    [['--no-killpriv-v2'], KILLPRIV],
    [['--no-announce-submounts'], flagBits(Init.SUBMOUNTS)],
  ] as const) {
    const device = await Device.start(t, [...args])
    const fs = attach(t, device)
    t.equal(fs.init({ flags: EVERY_FLAG }).flags, (WITHOUT_OPTIONS | READDIRPLUS) & ~missing, args.join(' '))
    fs.close()
  }
})

t.test('ACLs take three flags: a guest that lacks one gets none of them', async (t) => {
  const device = await Device.start(t, ['--posix-acl=auto', '--keep-alive'])
  const fs = attach(t, device)
  for (const bit of [Init.DONT_MASK, Init.POSIX_ACL, Init.SETXATTR_EXT])
    t.equal(fs.init({ flags: EVERY_FLAG & ~flagBits(bit) }).flags & ACLS, 0n)
  fs.close()
})

t.test('a guest that lacks what was asked for with "always": EPROTO', async (t) => {
  for (const [arg, flags] of [
    ['--posix-acl=always', ACLS],
    ['--security-label=always', flagBits(Init.SECURITY_CTX)],
  ] as const) {
    const device = await Device.start(t, [arg, '--keep-alive'])
    const fs = attach(t, device)
    t.equal(fs.init({ flags: EVERY_FLAG }).flags & flags, flags)
    refused(t, 'EPROTO', () => fs.init({ flags: EVERY_FLAG & ~flags }))
    fs.close()
  }
})

t.test('one log line says what the guest asked for, got, and what follows', async (t) => {
  const device = await Device.start(t, ['--keep-alive', '--cache', 'never', '--allow-mmap', '--parallel-dio'])
  const fs = attach(t, device)
  for (const [minor, guest, allowMmap, parallelDio] of [
    [46, /Linux 6\.9 or later/, /^on/, /^on: .*except while it is mapped/],
    [39, /Linux 6\.6-6\.8/, /^on/, /switches it off for the whole mount/],
    [38, /Linux 6\.2-6\.5/, /^on/, /^on/],
    [36, /before Linux 6\.2/, /^on/, /older than Linux 6\.2/],
  ] as const) {
    fs.init({ minor })
    const line = await device.waitForLog((line) => String(line.guest).startsWith(`7.${minor} `))
    t.match(line.guest, guest)
    t.match(line.allowMmap, allowMmap)
    t.match(line.parallelDio, parallelDio)
    t.match(line.flags, /^0x[0-9a-f]+$/)
  }
  fs.init({ minor: 44, flags: EVERY_FLAG & ~flagBits(Init.DIRECT_IO_ALLOW_MMAP) })
  const without = await device.waitForLog((line) => String(line.guest).startsWith('7.44 '))
  t.match(without.allowMmap, /does not know it/)
  fs.close()
})

t.test('no descriptor is left open', async (t) => {
  await device.waitForFdCount(heldBefore)
  t.ok(device.alive)
  t.ok(existsSync(device.socketPath))
})
