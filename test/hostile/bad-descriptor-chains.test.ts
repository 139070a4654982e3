/**
 * Chains of descriptors that no driver makes: each is logged, and the next request is served. Where a reply's header
 * can be written, it says EIO. The indirect tables that overflowed libvhost-user are among them.
 */
import t, { type Test } from 'tap'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { type Descriptor, INDIRECT, NEXT, RawRing, WRITE } from '../support/fuse/raw-ring.js'

const MIB = 1 << 20
const GIB = 2 ** 30
const END_GPA = 256 * MIB
/** An address where the client has nothing. */
const REQUEST_GPA = 200 * MIB
const REPLY_GPA = 201 * MIB
const TABLE_GPA = 202 * MIB
const STATFS_REPLY_BYTES = 96
const ERROR_BYTES = 16
const EIO = 5

/** STATFS, which takes no arguments: 40 bytes in, 96 out. */
const statfs = concat(u32(40, Op.STATFS), u64(7), u64(ROOT_ID), u32(0, 0, 0, 0))
const request: Descriptor = { gpa: REQUEST_GPA, lenBytes: 40 }
const reply: Descriptor = { gpa: REPLY_GPA, lenBytes: STATFS_REPLY_BYTES, flags: WRITE }

interface Setting {
  readonly fs: FuseGuest
  readonly ring: RawRing
}

/** A bad chain; `fault` is the word for its fault in the log. */
interface Attack {
  readonly name: string
  readonly fault: string
  /** Makes the chain available. */
  offer(ring: RawRing): void
}

const chain = (name: string, fault: string, ...descriptors: Descriptor[]): Attack => ({
  name,
  fault,
  offer: (ring) => ring.offerChain(descriptors),
})
const indirect = (name: string, fault: string, table: readonly Descriptor[], lenBytes?: number): Attack => ({
  name,
  fault,
  offer: (ring) => ring.offerIndirect(table, TABLE_GPA, lenBytes),
})
/** Descriptors are written unchanged, without filled-in links. */
const raw = (name: string, fault: string, ...descriptors: Descriptor[]): Attack => ({
  name,
  fault,
  offer(ring) {
    ring.write(descriptors)
    ring.publish(ring.firstIndex)
  },
})

const OUTSIDE = 'address outside guest memory'
const TOO_LONG = 'chain longer than the queue'
const BAD_TABLE = 'bad indirect table'
const BAD_INDEX = 'descriptor index out of range'
const gone: Descriptor = { gpa: END_GPA, lenBytes: STATFS_REPLY_BYTES, flags: WRITE }
const linked = (next: number): Descriptor => ({ ...request, flags: NEXT, next })

/** The place of the reply's header can be found. */
const answered: readonly Attack[] = [
  chain('a buffer behind all memory', OUTSIDE, { ...request, gpa: END_GPA }, reply),
  chain('a buffer across the end of memory', OUTSIDE, { ...request, gpa: END_GPA - 39 }, reply),
  chain('a reply across the end of memory', OUTSIDE, request, { ...reply, lenBytes: 0xffff_ffff }),
  chain('the rest of a reply behind all memory', OUTSIDE, request, { ...reply, lenBytes: 16 }, gone),
  chain(
    'a reply behind a buffer and a link that are nowhere',
    OUTSIDE,
    { ...request, gpa: END_GPA },
    reply,
    gone,
  ),
  raw('a link behind the table, after the reply', BAD_INDEX, linked(65), {
    ...reply,
    flags: WRITE | NEXT,
    next: 128,
  }),
  indirect('a reply in a table', OUTSIDE, [{ ...request, gpa: END_GPA, flags: NEXT, next: 1 }, reply]),
  chain('a buffer at 2^53', OUTSIDE, { ...request, gpa: 1n << 53n }, reply),
  chain('a buffer at 2^64 - 1', OUTSIDE, { ...request, gpa: (1n << 64n) - 1n }, reply),
  chain('a buffer whose end wraps', OUTSIDE, { gpa: (1n << 64n) - 8n, lenBytes: 40 }, reply),
  chain('a buffer of 2^32 - 1 bytes', OUTSIDE, { ...request, lenBytes: 0xffff_ffff }, reply),
  chain('a readable buffer behind a writable one', 'readable after writable', reply, request),
  chain('readable behind writable, twice', 'readable after writable', request, reply, request, reply),
]

/** No part of it waits for a reply. */
const silent: readonly Attack[] = [
  chain('a request behind all memory that wants no reply', OUTSIDE, { ...request, gpa: END_GPA }),
  raw('a chain that links to itself', TOO_LONG, linked(64)),
  raw('a chain that goes round', TOO_LONG, linked(65), linked(66), linked(64)),
  raw(
    'a chain that goes round with no bytes',
    TOO_LONG,
    { ...linked(65), lenBytes: 0 },
    { ...linked(64), lenBytes: 0 },
  ),
  raw('a link behind the table', BAD_INDEX, linked(128)),
  raw('a link far behind the table', BAD_INDEX, linked(65_535)),
  raw('indirect and next at once', BAD_TABLE, {
    gpa: TABLE_GPA,
    lenBytes: 16,
    flags: INDIRECT | NEXT,
    next: 65,
  }),
  indirect('a table in a table', BAD_TABLE, [{ gpa: TABLE_GPA, lenBytes: 16, flags: INDIRECT }]),
  indirect('a table of no bytes', BAD_TABLE, [request], 0),
  indirect('a table of 17 bytes', BAD_TABLE, [request, reply], 17),
  indirect('a table of 15 bytes', BAD_TABLE, [request], 15),
  indirect('a table longer than the queue', BAD_TABLE, [request], 16 * 129),
  indirect('a table of 2^32 - 16 bytes', BAD_TABLE, [request], 0xffff_fff0),
  indirect('a link behind an indirect table', BAD_INDEX, [linked(2), reply]),
  indirect('an indirect table that goes round', TOO_LONG, [linked(1), linked(0)]),
]

/**
 * A reply may be due and there is no place for its header: Linux before 7.1 would take a returned chain for success.
 */
const kept: readonly Attack[] = [
  chain(
    'a reply whose header is cut by the end of memory',
    OUTSIDE,
    request,
    { ...reply, lenBytes: 15 },
    gone,
  ),
  chain('a header behind all memory, the rest within it', OUTSIDE, request, gone, reply),
  chain('a reply of which 15 bytes are in memory', OUTSIDE, request, { ...reply, gpa: END_GPA - 15 }),
  raw('a table behind all memory', OUTSIDE, { gpa: END_GPA, lenBytes: 32, flags: INDIRECT }),
  raw('a table across the end of memory', OUTSIDE, { gpa: END_GPA - 16, lenBytes: 32, flags: INDIRECT }),
  raw('a table at 2^53', OUTSIDE, { gpa: 1n << 53n, lenBytes: 32, flags: INDIRECT }),
]

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

function prepare(t: Test, options: { indirect: boolean; regionBytes?: readonly number[] }): Setting {
  const fs = mount(t, device, options)
  fs.frontend.write(REQUEST_GPA, statfs)
  fs.frontend.write(REPLY_GPA, new Uint8Array(STATFS_REPLY_BYTES).fill(0xa5))
  return { fs, ring: new RawRing(fs, REQUEST_QUEUE) }
}

/** A chain that is not returned stays in flight for ever, so each has a session of its own. */
for (const [what, attacks, writtenBytes] of [
  ['an errno where a reply can be written', answered, ERROR_BYTES],
  ['nothing written where no reply is waited for', silent, 0],
  ['not at all where a reply cannot be reached', kept, undefined],
] as const) {
  t.test(`a bad chain comes back with ${what}, and the next request is served`, async (t) => {
    for (const attack of attacks) {
      const { fs, ring } = prepare(t, { indirect: true })
      attack.offer(ring)
      if (writtenBytes !== undefined) t.equal(ring.reap().writtenBytes, writtenBytes, attack.name)
      const header = new DataView(fs.frontend.read(REPLY_GPA, STATFS_REPLY_BYTES).slice().buffer)
      if (writtenBytes === ERROR_BYTES)
        t.same([header.getUint32(0, true), header.getInt32(4, true)], [ERROR_BYTES, -EIO], attack.name)
      else t.equal(header.getUint32(0, true), 0xa5a5_a5a5, `${attack.name}: no reply is written`)
      fs.getattr(ROOT_ID)
      fs.close()
    }
    for (const fault of new Set(attacks.map(({ fault }) => fault)))
      await assertLogged(t, device, `bad descriptor chain: ${fault}`)
  })
}

t.test('an answer names its request where that can be read', async (t) => {
  const { fs, ring } = prepare(t, { indirect: true })
  ring.submitChain([request, { ...reply, lenBytes: 16 }, gone])
  const header = new DataView(fs.frontend.read(REPLY_GPA, ERROR_BYTES).slice().buffer)
  t.equal(header.getBigUint64(8, true), 7n, 'the number of the request')
  fs.close()
})

t.test('the log names the cause and the remedy', async (t) => {
  const line = await device.waitForLog(({ msg }) => msg === `bad descriptor chain: ${OUTSIDE}`)
  t.match(line, { hint: /share=on/ })
})

t.test('without INDIRECT_DESC a table makes a chain bad', async (t) => {
  const { fs, ring } = prepare(t, { indirect: false })
  t.equal(ring.submitIndirect([request, reply], TABLE_GPA).writtenBytes, 0)
  fs.getattr(ROOT_ID)
  fs.close()
})

t.test('a head that is no descriptor is skipped: it cannot even be given back', async (t) => {
  const { fs, ring } = prepare(t, { indirect: true })
  for (const head of [128, 129, 32_768, 65_535]) {
    ring.publish(head)
    fs.getattr(ROOT_ID)
  }
  t.pass('the requests behind are served')
  fs.close()
})

t.test('more than 4 GiB in one chain is refused, one byte less is not', async (t) => {
  const { fs, ring } = prepare(t, { indirect: true, regionBytes: [6 * GIB] })
  const fill = (lenBytes: number): Descriptor => ({ gpa: GIB, lenBytes })
  const rest = 2 ** 32 - 40 - 3 * GIB
  const shape = (bytes: number) => [request, fill(3 * GIB), fill(bytes), reply]
  t.equal(ring.submitChain(shape(rest)).writtenBytes, ERROR_BYTES, '2^32 readable bytes')
  t.equal(ring.submitChain(shape(rest - 1)).writtenBytes, STATFS_REPLY_BYTES, '2^32 - 1')
  const replies = [reply, { ...fill(3 * GIB), flags: WRITE }, { ...fill(GIB), flags: WRITE }]
  t.equal(ring.submitChain([request, ...replies]).writtenBytes, ERROR_BYTES, 'more than 2^32 writable bytes')
  fs.close()
})

t.test(
  'what is odd and allowed works: empty buffers, chains that end in a table, tables anywhere',
  async (t) => {
    const regionBytes = [208 * MIB, 48 * MIB]
    const { fs, ring } = prepare(t, { indirect: true, regionBytes })
    const empty = (flags = 0): Descriptor => ({ gpa: 0xdead_beef_f000n, lenBytes: 0, flags })
    const written = (used: { writtenBytes: number }) => used.writtenBytes
    const all = STATFS_REPLY_BYTES
    t.equal(written(ring.submitChain([empty(), request, empty(), empty(WRITE), reply, empty(WRITE)])), all)
    t.equal(written(ring.submitIndirect([{ ...request, flags: NEXT, next: 1 }, reply], TABLE_GPA)), all)
    for (const gpa of [TABLE_GPA + 1, TABLE_GPA + 7, 208 * MIB - 16, 208 * MIB - 5]) {
      t.equal(
        written(ring.submitIndirect([{ ...request, flags: NEXT, next: 1 }, reply], gpa)),
        all,
        `a table at ${gpa}`,
      )
    }
    fs.frontend.write(TABLE_GPA, concat(u64(REPLY_GPA), u32(all, WRITE)))
    t.equal(written(ring.submitChain([request, { gpa: TABLE_GPA, lenBytes: 16, flags: INDIRECT }])), all)
    // An indirect table may stand in any order.
    t.equal(
      written(
        ring.submitIndirect(
          [{ ...request, flags: NEXT, next: 2 }, { gpa: 1, lenBytes: 1 }, reply],
          TABLE_GPA,
        ),
      ),
      all,
    )
    fs.close()
  },
)

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
