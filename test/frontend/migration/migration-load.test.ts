/** A guest that moves fifty times between two devices with requests under way, and a state that an earlier version made. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { loadState, saveState } from 'vhost-user-ts/frontend'
import { Device } from '../../support/device/device.js'
import { migrate, resume, suspend } from '../../support/device/migrate.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { attach, mount } from '../../support/fuse/mount.js'
import { finishAll, startWrite } from '../../support/fuse/writers.js'
import { Random } from '../../support/random.js'
import { comesTo, shareDescriptors } from '../../support/share-descriptors.js'

const MIGRATIONS = 50
const O_RDWR = 2
const FILES = 8
const BLOCK = 512
const BLOCKS = 64
/** What `startWrite` writes. */
const WRITTEN = 7

/** From dist/test/frontend back to the sources. */
const RECORDED = fileURLToPath(new URL('../../../../test/frontend/migration/recorded/', import.meta.url))

t.setTimeout(600_000)

interface OpenedFile {
  readonly name: string
  readonly nodeid: bigint
  readonly handle: bigint
  /** The value of each block's bytes. */
  readonly blocks: Uint8Array
}

/** A guest that changes files at random and knows what must be in them. */
class Worker {
  private readonly files: OpenedFile[] = []
  private made = 0

  constructor(
    private readonly fs: FuseGuest,
    private readonly random: Random,
  ) {
    for (let n = 0; n < FILES; n++) this.files.push(this.make())
  }

  /** Starts requests that are under way when the guest stops. */
  start(): Call[] {
    const { fs, random } = this
    return Array.from({ length: 6 }, () => {
      const file = random.pick(this.files)
      const block = random.below(BLOCKS)
      if (random.below(2) === 0)
        return fs.start(fs.readRequest(file.nodeid, file.handle, BigInt(block * BLOCK), BLOCK))
      file.blocks[block] = WRITTEN
      return startWrite(fs, file, block * BLOCK, BLOCK)
    })
  }

  /** Changes names and contents, and checks everything. */
  work(): void {
    const { fs, random, files } = this
    const n = random.below(files.length)
    const old = files[n]!
    fs.rename(ROOT_ID, old.name, ROOT_ID, `${old.name}-renamed`)
    fs.unlink(ROOT_ID, `${old.name}-renamed`)
    fs.release(old.nodeid, old.handle)
    fs.forget(old.nodeid, fs.lookups.get(old.nodeid) ?? 1n)
    files[n] = this.make()
    for (const { name, nodeid, handle, blocks } of files) {
      if (fs.lookup(ROOT_ID, name).nodeid !== nodeid) throw new Error(`${name} is another inode`)
      const bytes = fs.read(nodeid, handle, 0n, BLOCK * BLOCKS)
      for (let at = 0; at < bytes.length; at++)
        if (bytes[at] !== blocks[Math.floor(at / BLOCK)]) throw new Error(`${name} differs at byte ${at}`)
    }
  }

  end(): void {
    for (const { nodeid, handle } of this.files) this.fs.release(nodeid, handle)
    this.fs.forgetAll()
  }

  private make(): OpenedFile {
    const { fs } = this
    const name = `file-${this.made++}`
    const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
    const blocks = new Uint8Array(BLOCKS).fill(1 + this.random.below(255))
    fs.write(nodeid, handle, 0n, new Uint8Array(BLOCK * BLOCKS).fill(blocks[0]!))
    return { name, nodeid, handle, blocks }
  }
}

async function pair(t: Test, options: readonly string[], storage: 'memory' | 'disk') {
  const from = await Device.start(t, [...options, '--keep-alive'], { storage })
  const to = await Device.start(t, [...options, '--keep-alive'], { directory: from.directory })
  return { from, to }
}

for (const [storage, options] of [
  ['memory', ['--cache', 'never']],
  ['disk', ['--cache', 'auto']],
  ['memory', ['--cache', 'always']],
  ['disk', ['--cache', 'auto', '--writeback']],
  ['disk', ['--cache', 'auto', '--migration-confirm-paths', '--inode-file-handles', 'never']],
] as const) {
  t.test(`${MIGRATIONS} migrations with ${options.join(' ')}, files on ${storage}`, async (t) => {
    const { from, to } = await pair(t, options, storage)
    const [heldFrom, heldTo] = [shareDescriptors(from), shareDescriptors(to)]
    const fs = mount(t, from)
    const worker = new Worker(fs, new Random(options.length))
    for (let n = 1; n <= MIGRATIONS; n++) {
      const calls = worker.start()
      migrate(fs, n % 2 === 1 ? to : from)
      finishAll(fs, calls)
      for (const { reply } of calls)
        if (reply?.error !== 0) t.fail(`error ${reply?.error} after migration ${n}`)
      worker.work()
    }
    worker.end()
    await comesTo(to, heldTo)
    fs.close()
    await comesTo(from, heldFrom)
    t.pass('nothing is left over on either side')
  })
}

/** The ids that the guest of the recorded state had. */
interface RecordedIds {
  readonly directory: string
  readonly file: string
  readonly handle: string
  readonly listing: string
}

/** The directory that the guest of the recorded state had mounted. */
function recordedTree(directory: string): void {
  mkdirSync(join(directory, 'directory'))
  writeFileSync(join(directory, 'directory', 'file'), 'contents')
}

const RECORDED_OPTIONS = [
  '--no-migration-verify-handles',
  '--posix-lock',
  '--flock',
  '--cache',
  'auto',
  '--keep-alive',
]

t.test('a state of format version 1 is read', async (t) => {
  const device = await Device.start(t, RECORDED_OPTIONS)
  recordedTree(device.directory)
  // RECORD=1 makes the recorded state anew; a later version of the format gets a file of its own.
  if (process.env['RECORD'] !== undefined) {
    const fs = mount(t, device)
    const { nodeid } = fs.lookup(ROOT_ID, 'directory')
    const file = fs.lookup(nodeid, 'file').nodeid
    const { handle } = fs.open(file, O_RDWR)
    const listing = fs.opendir(nodeid).handle
    suspend(fs)
    const state = saveState(fs.frontend)
    mkdirSync(RECORDED, { recursive: true })
    writeFileSync(join(RECORDED, 'state-1.bin'), state)
    const ids: RecordedIds = {
      directory: `${nodeid}`,
      file: `${file}`,
      handle: `${handle}`,
      listing: `${listing}`,
    }
    writeFileSync(join(RECORDED, 'state-1.json'), `${JSON.stringify(ids, undefined, 2)}\n`)
  }
  const ids = JSON.parse(readFileSync(join(RECORDED, 'state-1.json'), 'utf8')) as RecordedIds
  const fs = attach(t, await Device.start(t, RECORDED_OPTIONS, { directory: device.directory }))
  const bases = suspend(fs)
  loadState(fs.frontend, Uint8Array.from(readFileSync(join(RECORDED, 'state-1.bin'))))
  resume(fs, bases)
  const file = BigInt(ids.file)
  t.equal(Buffer.from(fs.read(file, BigInt(ids.handle), 0n, 100)).toString(), 'contents')
  t.equal(fs.lookup(ROOT_ID, 'directory').nodeid, BigInt(ids.directory))
  t.equal(fs.lookup(BigInt(ids.directory), 'file').nodeid, file)
  t.equal(fs.readdir(BigInt(ids.directory), BigInt(ids.listing), 0n, 4096).length, 3)
})
