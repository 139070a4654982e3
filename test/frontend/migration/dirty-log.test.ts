/**
 * The dirty log: a front-end compares all of the guest's memory before and after with the pages that the device has marked,
 * under all kinds of requests. With a kind of mark left out, the comparison must fail.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DirtyPages } from 'vhost-user-ts/frontend'
import { Device, type DeviceOptions } from '../../support/device/device.js'
import { suspend } from '../../support/device/migrate.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { every, type Layout, linux, unaligned, whole } from '../../support/fuse/layouts.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll } from '../../support/fuse/writers.js'

const PAGE = 4096
const MIB = 1 << 20
const MEMORY_BYTES = 32 * MIB
const O_RDWR = 2
const O_DIRECT = 0o40000

/** The requests of a guest while it is migrated. */
const kinds: Readonly<Record<string, (fs: FuseGuest, file: { nodeid: bigint; handle: bigint }) => void>> = {
  'small replies': (fs, { nodeid }) => {
    fs.getattr(nodeid)
    fs.lookup(ROOT_ID, 'file')
    fs.statfs()
    fs.readlink(fs.lookup(ROOT_ID, 'link').nodeid)
  },
  'reads of 1 byte to 128 KiB': (fs, { nodeid, handle }) => {
    for (const sizeBytes of [1, PAGE, 5 * PAGE + 3, 128 * 1024]) fs.read(nodeid, handle, 0n, sizeBytes)
  },
  'a read beyond the end': (fs, { nodeid, handle }) => {
    fs.read(nodeid, handle, BigInt(MIB - 10), 8 * PAGE)
  },
  'many reads at once': (fs, { nodeid, handle }) => {
    const calls: Call[] = []
    for (let n = 0; n < 8; n++)
      calls.push(fs.start(fs.readRequest(nodeid, handle, BigInt(n * 4 * PAGE), 4 * PAGE)))
    finishAll(fs, calls)
  },
  'many large reads at once, which several threads copy': (fs, { nodeid, handle }) => {
    const offsets = [0, 1, 2, 3, 4, 5, 6, 7.5].map((n) => BigInt(n * 128 * 1024))
    finishAll(
      fs,
      offsets.map((offset) => fs.start(fs.readRequest(nodeid, handle, offset, 128 * 1024))),
    )
  },
  'listings, with and without attributes': (fs) => {
    const { handle } = fs.opendir(ROOT_ID)
    fs.readdir(ROOT_ID, handle, 0n, 8 * PAGE)
    fs.readdirplus(ROOT_ID, handle, 0n, 32 * PAGE)
    fs.releasedir(ROOT_ID, handle)
  },
  'errors, and replies without a body': (fs, { nodeid, handle }) => {
    try {
      fs.lookup(ROOT_ID, 'nothing')
    } catch {}
    fs.fsync(nodeid, handle)
    fs.forget(fs.lookup(ROOT_ID, 'file').nodeid, 1n)
  },
}

/** Pages whose contents differ between two copies of memory. */
function changed(before: Uint8Array, after: Uint8Array): number[] {
  const pages: number[] = []
  for (let page = 0; page * PAGE < before.length; page++) {
    const [a, b] = [before, after].map((bytes) => Buffer.from(bytes.buffer, page * PAGE, PAGE))
    if (a?.equals(b ?? a) === false) pages.push(page)
  }
  return pages
}

/**
 * Runs requests, and returns the pages that the device has changed without a mark. A second copy of the memory gets what
 * the guest itself writes, so what differs in the end is the device's, or the driver's rings.
 */
function unmarked(fs: FuseGuest, work: () => void): { lost: number[]; marked: number } {
  const { frontend } = fs
  const log = new DirtyPages(frontend)
  const shadow = frontend.read(0, MEMORY_BYTES)
  const { write } = frontend
  frontend.write = (gpa, bytes) => {
    shadow.set(bytes, gpa)
    return write.call(frontend, gpa, bytes)
  }
  work()
  frontend.write = write
  const marked = log.pages()
  const driver = driverPages(fs)
  const lost = changed(shadow, frontend.read(0, MEMORY_BYTES)).filter(
    (page) => !marked.has(page) && !driver.has(page),
  )
  log.end()
  return { lost, marked: marked.size }
}

/** Pages that the driver writes: descriptor tables, available rings and indirect tables. */
function driverPages(fs: FuseGuest): Set<number> {
  const pages = new Set<number>()
  const add = (gpa: number, lenBytes: number) => {
    for (let page = Math.floor(gpa / PAGE); page * PAGE < gpa + lenBytes; page++) pages.add(page)
  }
  for (const { layout } of fs.frontend.queues) {
    add(layout.descGpa, layout.size * 16)
    add(layout.availGpa, 6 + 2 * layout.size)
    // Indirect tables, with room for each descriptor, follow the used ring.
    add(Math.ceil((layout.usedGpa + 6 + 8 * layout.size) / PAGE) * PAGE, layout.size * layout.size * 16)
  }
  return pages
}

async function prepared(t: Test, leftOut: string | undefined, layout: Layout, options: DeviceOptions) {
  const launcher = leftOut === undefined ? [] : [`VIRTIOFSD_TS_LEFT_OUT_MARKS=${leftOut}`]
  const device = await Device.start(t, ['--allow-direct-io'], { ...options, launcher })
  writeFileSync(
    join(device.directory, 'file'),
    new Uint8Array(MIB).map((_, n) => n % 251),
  )
  for (let n = 0; n < 100; n++) writeFileSync(join(device.directory, `entry-${n}`), '')
  const fs = mount(t, device, { regionBytes: [MEMORY_BYTES], layout, queueSize: 64, indirect: true })
  fs.roomMayChange = true
  fs.symlink(ROOT_ID, 'link', 'somewhere else')
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  const direct = fs.open(nodeid, O_RDWR | O_DIRECT)
  return { fs, file: { nodeid, handle }, direct: { nodeid, handle: direct.handle } }
}

for (const storage of ['memory', 'disk'] as const) {
  for (const layout of [linux, unaligned, every(1000)]) {
    t.test(`every page is marked: files on ${storage}, ${layout.name}`, async (t) => {
      const { fs, file, direct } = await prepared(t, undefined, layout, { storage })
      for (const [kind, work] of Object.entries(kinds)) {
        const { lost, marked } = unmarked(fs, () => work(fs, file))
        t.strictSame(lost, [], kind)
        t.ok(marked > 0)
        if (layout === linux) t.strictSame(unmarked(fs, () => work(fs, direct)).lost, [], `${kind}, O_DIRECT`)
      }
    })
  }
}

for (const [leftOut, kind, layout] of [
  // In one piece: Linux puts header and arguments of a reply into one page, so the mark of the arguments covers both.
  ['reply', 'small replies', whole(0)],
  ['reply', 'listings, with and without attributes', whole(0)],
  ['data', 'reads of 1 byte to 128 KiB', linux],
  ['data', 'many reads at once', linux],
  ['used ring', 'small replies', linux],
] as const) {
  t.test(`the check notices when marks of ${leftOut} are left out: ${kind}`, async (t) => {
    const { fs, file } = await prepared(t, leftOut, layout, { storage: 'memory' })
    t.not(unmarked(fs, () => kinds[kind]?.(fs, file)).lost.length, 0)
  })
}

t.test('a read in flight when the log begins is marked when it ends', async (t) => {
  const { fs, file } = await prepared(t, undefined, linux, { storage: 'disk' })
  const { lost } = unmarked(fs, () => {
    fs.start(fs.readRequest(file.nodeid, file.handle, 0n, 64 * PAGE))
    const bases = suspend(fs)
    t.equal(bases.length, 2)
  })
  t.strictSame(lost, [], 'what is finished because the rings stop is marked before they have stopped')
})
