/** The nodes and memory that a guest can make a user's own file system hold are bounded, and freed again. */
import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { descriptorsOf } from '../../../vm/host/descriptors-of.js'
import { example, fixture, ServedModule } from '../../support/file-systems/served-module.js'
import { mount } from '../../support/fuse/mount.js'
import { setxattr } from '../../support/fuse/posix-calls.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_RDWR } = constants
const MIB = 1 << 20

t.test('a guest may know only nodeLimit nodes, and further ones once it has forgotten some', async (t) => {
  const device = await ServedModule.start(t, example('scratch'), { serve: { nodeLimit: 10 } })
  const guest = mount(t, device)
  const made = Array.from({ length: 9 }, (_, n) => guest.create(1n, `f${n}`, O_RDWR))
  t.equal(
    errorOf(() => guest.mkdir(1n, 'one-too-many')),
    'ENFILE',
  )
  const first = made[0]
  t.equal(guest.lookup(1n, 'f0').nodeid, first?.nodeid, 'what it knows it may look up again')
  await device.says(/out of nodes: the guest gets ENFILE limit=10/)
  guest.release(first?.nodeid ?? 0n, first?.handle ?? 0n)
  guest.forget(first?.nodeid ?? 0n, 2n)
  t.ok(guest.lookup(1n, 'one-too-many').nodeid)
})

t.test('a node that the guest forgets and looks up again has the inode number of before', async (t) => {
  for (const module of [example('scratch'), fixture('keyed-nodes')]) {
    const device = await ServedModule.start(t, module)
    const guest = mount(t, device)
    const numbers = () => {
      const inos = ['a', 'b'].map((name) => guest.lookup(1n, name).attr.ino)
      guest.forgetAll()
      return inos
    }
    if (module === example('scratch')) for (const name of ['a', 'b']) guest.mkdir(1n, name)
    const before = numbers()
    t.equal(new Set(before).size, 2)
    guest.lookup(1n, 'b')
    t.same(numbers(), before)
  }
})

t.test('the memory example is full at its limit, and has its memory again once files are gone', async (t) => {
  const device = await ServedModule.start(t, example('memory'), { make: { mebibytes: 2 } })
  const guest = mount(t, device)
  const big = guest.create(1n, 'big', O_RDWR)
  const small = guest.create(1n, 'small', O_RDWR)
  const room = () => guest.statfs().bfree
  const before = room()
  guest.write(big.nodeid, big.handle, 0, new Uint8Array(MIB))
  t.equal(
    errorOf(() => guest.write(small.nodeid, small.handle, 0, new Uint8Array(MIB))),
    'ENOSPC',
  )
  guest.unlink(1n, 'big')
  t.equal(guest.read(big.nodeid, big.handle, 0, MIB).length, MIB, 'open, it is still there')
  guest.release(big.nodeid, big.handle)
  guest.forget(big.nodeid, 1n)
  guest.setattr(small.nodeid, { size: 0 })
  t.ok(room() >= before)
  t.equal(guest.write(small.nodeid, small.handle, 0, new Uint8Array(MIB)), MIB)
  let names = 0
  const link = () => guest.link(small.nodeid, 1n, `link-${names++}`)
  let code = errorOf(link)
  while (code === 'no error' && names < 5000) code = errorOf(link)
  t.equal(code, 'ENOSPC', 'names are counted')
  const attribute = (n: number) => setxattr(guest, small.nodeid, `user.${n}`, new Uint8Array(60_000))
  t.equal(
    errorOf(() => attribute(1)),
    'ENOSPC',
    'and so are attributes',
  )
})

t.test('holes are found, and use no memory', async (t) => {
  const guest = mount(t, await ServedModule.start(t, example('memory')))
  const { nodeid, handle } = guest.create(1n, 'sparse', O_RDWR)
  guest.write(nodeid, handle, 2 ** 52, Buffer.from('end'))
  guest.write(nodeid, handle, 65536, Buffer.from('a'))
  const { attr } = guest.getattr(nodeid)
  t.equal(attr.blocks, 256n)
  const seek = (at: number, whence: number) => Number(guest.lseek(nodeid, handle, at, whence))
  t.same([seek(0, 3), seek(70000, 3), seek(2 ** 17, 3)], [65536, 70000, 2 ** 52])
  t.same([seek(0, 4), seek(65536, 4), seek(2 ** 52 + 1, 4)], [0, 2 ** 17, 2 ** 52 + 3])
  t.equal(
    errorOf(() => seek(2 ** 52 + 3, 3)),
    'ENXIO',
  )
})

t.test("a guest that leaves its files open leaves none of the adapter's open", async (t) => {
  const directory = tempDir(t)
  const device = await ServedModule.start(t, fixture('adapted-file-systems'), {
    make: { kind: 'node', directory },
    serve: { once: false, stopTimeoutMs: 50 },
  })
  const open = () => descriptorsOf(device.pid).filter((name) => name.startsWith(directory)).length
  const guest = mount(t, device)
  guest.create(1n, 'created', O_RDWR)
  guest.mknod(1n, 'made', 0o100644)
  const { nodeid } = guest.lookup(1n, 'created')
  guest.open(nodeid, O_RDWR)
  guest.create(1n, 'gone', O_RDWR)
  guest.unlink(1n, 'gone')
  t.equal(open(), 4)
  guest.close()
  await device.says(/unmounted/)
  for (let tries = 0; open() > 0 && tries < 400; tries++) await sleep(5)
  t.equal(open(), 0)
})
