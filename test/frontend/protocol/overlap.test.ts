/** What the device counts of one inode: overlap, kinds of writes, opens, and why a write came alone. */
import t from 'tap'
import type { InodeRow } from '../../support/device/control-client.js'
import { startControlled } from '../../support/device/control-client.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll, startWrite } from '../../support/fuse/writers.js'

const O_RDWR = 2
const O_APPEND = 0o2000
const FUSE_WRITE_CACHE = 1
const WRITERS = 8
const BLOCK = 512
/** Only a hold that never ends waits so long. */
const LONG_MS = 20_000
const SHORT_MS = 50
const PARALLEL = 'DIRECT_IO|PARALLEL_DIRECT_WRITES'

const direct = ['--cache', 'never', '--parallel-dio', '--inspect']

const only = (rows: readonly InodeRow[], path: string) => rows.find((row) => row.path === path)

t.test('writes that are in flight together are counted as overlapping, and others are not', async (t) => {
  const { device, control } = await startControlled(t, direct)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.setattr(file.nodeid, { size: WRITERS * BLOCK })
  // A hold proves it: none of them is released before the last has come.
  await control.ask('fault-add', {
    opcodes: ['WRITE'],
    path: 'file',
    hold: { until: WRITERS, timeoutMs: LONG_MS },
  })
  const calls = Array.from({ length: WRITERS }, (_, n) => startWrite(fs, file, n * BLOCK))
  finishAll(fs, calls)
  t.match(only(await control.inodes(), 'file'), {
    highestOverlap: WRITERS,
    overlappedWrites: WRITERS,
    directWrites: WRITERS,
    cachedWrites: 0,
    writesInFlight: 0,
    opens: { [PARALLEL]: 1 },
    openNow: 1,
    loneWrites: {},
  })
  await control.ask('fault-clear')
  await control.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 2, timeoutMs: SHORT_MS } })
  await control.ask('reset')
  for (let n = 0; n < 3; n++) finishAll(fs, [startWrite(fs, file, n * BLOCK)])
  t.match(only(await control.inodes(), 'file'), {
    highestOverlap: 1,
    overlappedWrites: 0,
    directWrites: 3,
    loneWrites: { 'no other writer seen': 3 },
  })
})

t.test('requests that are in flight now are shown', async (t) => {
  const { device, control } = await startControlled(t, direct)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  await control.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 9, timeoutMs: LONG_MS } })
  const calls = [0, 1, 2].map((n) => startWrite(fs, file, n * BLOCK))
  // When the device answers a later request, it has seen them.
  fs.getattr(file.nodeid)
  t.equal(only(await control.inodes(), 'file')?.writesInFlight, 3)
  t.equal((await control.faults())[0]?.heldNow, 3)
  t.same(await control.ask('release'), { released: 3 })
  finishAll(fs, calls)
  t.equal(only(await control.inodes(), 'file')?.writesInFlight, 0)
})

t.test('the reason why a write under parallel dio came alone is shown', async (t) => {
  const { device, control } = await startControlled(t, [...direct, '--allow-mmap'])
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const alone = async (options: object = {}, offset = 0) => {
    await control.ask('reset')
    finishAll(fs, [startWrite(fs, file, offset, BLOCK, options)])
    return Object.keys(only(await control.inodes(), 'file')?.loneWrites ?? {})
  }
  t.same(await alone(), ['extends the file'])
  t.same(await alone({ flags: O_APPEND | O_RDWR }), ['append'])
  t.same(await alone(), ['no other writer seen'])
  t.same(await alone({ writeFlags: FUSE_WRITE_CACHE }), ['write-back'])
  t.same(await alone(), ['shared mmap'], 'the page cache wrote, though every open is direct')
  const row = only(await control.inodes(), 'file')
  t.equal(row?.cachedWrites, 0, 'counts were reset')
  fs.release(file.nodeid, file.handle)
  const again = fs.open(file.nodeid, O_RDWR)
  await control.ask('reset')
  finishAll(fs, [startWrite(fs, { nodeid: file.nodeid, handle: again.handle }, 0)])
  t.same(
    only(await control.inodes(), 'file')?.loneWrites,
    { 'no other writer seen': 1 },
    'until all is closed',
  )
})

t.test('a cached open is named as the reason why a write came alone', async (t) => {
  const { device, control } = await startControlled(t, [
    '--direct-io',
    'o-direct',
    '--parallel-dio',
    '--inspect',
  ])
  const fs = mount(t, device)
  const O_DIRECT = 0o40000
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.setattr(nodeid, { size: BLOCK })
  const parallel = fs.open(nodeid, O_RDWR | O_DIRECT)
  finishAll(fs, [startWrite(fs, { nodeid, handle: parallel.handle }, 0)])
  t.match(only(await control.inodes(), 'file'), {
    opens: { none: 1, [PARALLEL]: 1 },
    loneWrites: { 'cached open': 1 },
  })
  finishAll(fs, [startWrite(fs, { nodeid, handle }, 0, BLOCK, { writeFlags: FUSE_WRITE_CACHE })])
  t.match(only(await control.inodes(), 'file'), { cachedWrites: 1, directWrites: 1 })
})

t.test('inodes returns the first files in the order that was asked for', async (t) => {
  const { device, control } = await startControlled(t, ['--inspect'])
  const fs = mount(t, device)
  for (let n = 1; n <= 5; n++) {
    const file = fs.create(ROOT_ID, `file-${n}`, O_RDWR)
    for (let write = 0; write < n; write++) fs.write(file.nodeid, file.handle, 0, Uint8Array.of(1))
    for (let read = n; read <= 5; read++) fs.read(file.nodeid, file.handle, 0, 1)
  }
  const paths = async (query: object) => (await control.inodes(query)).map(({ path }) => path)
  t.same(await paths({ top: 2, sort: 'writes' }), ['file-5', 'file-4'])
  t.same(await paths({ top: 2, sort: 'reads' }), ['file-1', 'file-2'])
  t.same(await paths({ path: 'file-[34]', sort: 'writes' }), ['file-4', 'file-3'])
  fs.rename(ROOT_ID, 'file-5', ROOT_ID, 'moved')
  t.same(await paths({ top: 1, sort: 'writes' }), ['moved'], 'by the name it has now')
  t.match(await control.refusal('inodes', { sort: 'size' }), /sort is one of/)
  t.match(await control.refusal('inodes', { top: 0 }), /top is a number/)
  t.match(await control.refusal('inodes', { path: '[' }), /bad glob/)
})

t.test('latency by opcode', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  t.match(await control.refusal('inodes'), /not inspected/)
  await control.ask('inspect', true)
  await control.ask('fault-add', { opcodes: ['GETATTR'], delay: { fixedMs: SHORT_MS } })
  for (let n = 0; n < 4; n++) fs.getattr(ROOT_ID)
  const rows = await control.ask<readonly { opcode: string; count: number; p50Us: number }[]>('latency')
  const row = rows.find(({ opcode }) => opcode === 'GETATTR')
  t.equal(row?.count, 4)
  t.ok((row?.p50Us ?? 0) >= SHORT_MS * 1000, `${row?.p50Us} us, with the delay in it`)
  t.equal(
    rows.some(({ opcode }) => opcode === 'WRITE'),
    false,
  )
})
