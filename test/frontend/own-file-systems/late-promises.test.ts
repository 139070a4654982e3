/** Nodes and handles made for a guest that no longer waits, or that gets an error, are released and forgotten. */
import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { fixture, ServedModule } from '../../support/file-systems/served-module.js'
import { Op } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { attach, mount } from '../../support/fuse/mount.js'
import { errorOf } from '../../support/fuse/refusals.js'

const { S_IFIFO } = constants

interface Counts {
  readonly opened: number
  readonly released: number
  readonly forgotten: number
}

const TRIES = 400

/** Lets promises settle until the file system's counts are these, and a moment longer. */
async function expectCounts(t: Test, guest: FuseGuest, expected: Counts): Promise<void> {
  let counts: Counts | undefined
  for (let tries = 0, more = 3; tries < TRIES && more > 0; tries++) {
    // A promise that settles may begin to wait for another.
    errorOf(() => guest.lookup(1n, 'let-go'))
    const sizeOf = (name: string) => Number(guest.lookup(1n, name).attr.size)
    counts = { opened: sizeOf('opened'), released: sizeOf('released'), forgotten: sizeOf('forgotten') }
    if (isDeepStrictEqual(counts, expected)) more--
    await sleep(5)
  }
  t.same(counts, expected)
}

async function start(t: Test): Promise<ServedModule> {
  return ServedModule.start(t, fixture('late-file-system'), {
    serve: { once: false, stopTimeoutMs: 50, methodTimeoutMs: 50 },
  })
}

/** Requests that time out, and what has to be released once their promises settle. */
const requests: Readonly<Record<string, readonly [Counts, (guest: FuseGuest) => void]>> = {
  open: [
    { opened: 1, released: 1, forgotten: 0 },
    (guest) => guest.open(guest.lookup(1n, 'opens-late').nodeid, 0),
  ],
  opendir: [
    { opened: 1, released: 1, forgotten: 0 },
    (guest) => guest.opendir(guest.lookup(1n, 'folder').nodeid),
  ],
  create: [
    { opened: 1, released: 1, forgotten: 1 },
    (guest) => guest.create(guest.lookup(1n, 'folder').nodeid, 'a', 0),
  ],
  mkdir: [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.mkdir(guest.lookup(1n, 'folder').nodeid, 'a'),
  ],
  mknod: [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.mknod(guest.lookup(1n, 'folder').nodeid, 'a', S_IFIFO),
  ],
  symlink: [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.symlink(guest.lookup(1n, 'folder').nodeid, 'a', 'b'),
  ],
  link: [
    { opened: 0, released: 0, forgotten: 0 },
    (guest) => guest.link(guest.lookup(1n, 'opens-at-once').nodeid, guest.lookup(1n, 'folder').nodeid, 'a'),
  ],
  'lookup, of a late node': [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.lookup(1n, 'found-late'),
  ],
  'lookup, with late attributes': [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.lookup(1n, 'stats-late'),
  ],
  readdirplus: [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => {
      const { nodeid } = guest.lookup(1n, 'lists-late')
      guest.readdirplus(nodeid, guest.opendir(nodeid).handle, 0n)
    },
  ],
}

for (const [name, [expected, run]] of Object.entries(requests)) {
  t.test(`${name}: what it made too late is released and forgotten`, async (t) => {
    const guest = mount(t, await start(t))
    t.equal(
      errorOf(() => run(guest)),
      'ETIMEDOUT',
    )
    await expectCounts(t, guest, expected)
  })
}

t.test('an open that settles after the guest has gone is released', async (t) => {
  const device = await start(t)
  const guest = mount(t, device)
  const { nodeid } = guest.lookup(1n, 'opens-late')
  guest.start({ opcode: Op.OPEN, nodeid, args: new Uint8Array(8), reply: { argBytes: 16, dataBytes: 0 } })
  t.equal(guest.lookup(1n, 'released').attr.size, 0n)
  guest.close()
  await device.says(/unmounted/)
  const next = mount(t, device)
  await expectCounts(t, next, { opened: 1, released: 1, forgotten: 1 })
})

t.test('open handles and known nodes are released and forgotten when the guest leaves', async (t) => {
  const device = await start(t)
  const guest = mount(t, device)
  const { nodeid } = guest.lookup(1n, 'opens-at-once')
  guest.open(nodeid, 0)
  guest.open(nodeid, 0)
  const folder = guest.lookup(1n, 'lists-late')
  guest.opendir(folder.nodeid)
  guest.close()
  await device.says(/unmounted/)
  const next = mount(t, device)
  await expectCounts(t, next, { opened: 2, released: 2, forgotten: 2 })
})

t.test('a new INIT releases and forgets them, too', async (t) => {
  const guest = attach(t, await start(t))
  guest.init()
  guest.open(guest.lookup(1n, 'opens-at-once').nodeid, 0)
  guest.init()
  await expectCounts(t, guest, { opened: 1, released: 1, forgotten: 1 })
})

const refused: Readonly<Record<string, readonly [Counts, (guest: FuseGuest) => void]>> = {
  'an open with a wrong answer': [
    { opened: 1, released: 1, forgotten: 0 },
    (guest) => guest.open(guest.lookup(1n, 'opens-oddly').nodeid, 0),
  ],
  'wrong attributes': [{ opened: 0, released: 0, forgotten: 1 }, (guest) => guest.lookup(1n, 'stats-badly')],
  'no attributes': [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.lookup(1n, 'stats-badly-later'),
  ],
  'a made file that cannot be opened': [
    { opened: 0, released: 0, forgotten: 1 },
    (guest) => guest.create(guest.lookup(1n, 'creates-badly').nodeid, 'a', 0),
  ],
  'a made file whose open has a wrong answer': [
    { opened: 1, released: 1, forgotten: 1 },
    (guest) => guest.create(guest.lookup(1n, 'creates-oddly').nodeid, 'a', 0),
  ],
}

for (const [name, [expected, run]] of Object.entries(refused)) {
  t.test(`${name}: the guest gets EIO, and what was made is released`, async (t) => {
    const guest = mount(t, await start(t))
    t.equal(
      errorOf(() => run(guest)),
      'EIO',
    )
    await expectCounts(t, guest, expected)
  })
}
