/** A hostile guest with a thread of the device for each queue does everything at the same time, to the same few files. */
import { strict as assert } from 'node:assert'
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { assertSurvival } from '../support/device/survival.js'
import { ThreadedDevice } from '../support/device/threaded-device.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY, type GuestRequest, type Reply } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, cstring, Reader, readEntry, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'
import { type Random, seeded } from '../support/random.js'

t.setTimeout(120_000)

const QUEUES = [1, 2, 3, 4]
const IN_FLIGHT = 24
const SESSIONS = 10
const STORM_MS = 300
const NAMES = Array.from({ length: 12 }, (_, n) => `n${n}`)
const MANY = Array.from({ length: 400 }, (_, n) => `many${n}`)
const MOST_KNOWN = 40
const SECRET = 'what lies outside of the share'
const DATA_BYTES = 4096
const WRITTEN_TEXT = 'x'.repeat(DATA_BYTES)
const EMPTY_BYTES = new Uint8Array(0)
const ALL_LOOKUPS = (1n << 64n) - 1n
/** The distance between the node ids, or handles, that one slot has one after the other. */
const GENERATION = 1n << 32n

const ENTRY = { argBytes: 128 }
const OPENED = { argBytes: 16 }
const ENTRY_AND_OPENED = { argBytes: 144 }
const DATA = { argBytes: 0, dataBytes: DATA_BYTES }
const WRITTEN = { argBytes: 8 }

/** Opcodes whose reply begins with an entry. */
const makers: ReadonlySet<number> = new Set([Op.LOOKUP, Op.CREATE, Op.MKNOD, Op.MKDIR, Op.SYMLINK, Op.LINK])

/** What the guest has heard of. It goes on using what it has given back, and guesses what comes next. */
class Storm {
  private readonly nodes: bigint[] = []
  private readonly files: bigint[] = []
  private readonly directories: bigint[] = []
  /** The host's inode numbers, by node id and by handle. */
  private readonly inos = new Map<bigint, bigint>()
  private readonly opened = new Map<bigint, bigint>()
  served = 0
  /** What was read from files that it was not in. */
  readonly strangers: string[] = []

  constructor(
    private readonly fs: FuseGuest,
    private readonly random: Random,
    /** What is in files that the host has made, by inode number. */
    private readonly texts: ReadonlyMap<bigint, string>,
  ) {}

  /** Does everything for a while, and ends the session in the middle of it. */
  run(untilMs: number): void {
    const { fs } = this
    for (const queue of QUEUES) for (let n = 0; n < IN_FLIGHT; n++) fs.start(this.next(), queue)
    while (performance.now() < untilMs)
      for (const queue of QUEUES) {
        const call = fs.finishNow(queue, 1)
        if (call === undefined) continue
        this.learn(call.request, call.reply)
        fs.start(this.next(), queue)
      }
    const destroy = { opcode: Op.DESTROY, nodeid: 0, reply: EMPTY }
    const destroyed = fs.start(destroy, QUEUES[0])
    for (const queue of QUEUES) for (let n = 0; n < IN_FLIGHT; n++) fs.start(this.next(), queue)
    for (const queue of QUEUES) for (let n = 0; n < 2 * IN_FLIGHT; n++) this.learn(fs.finish(queue).request)
    fs.finish(QUEUES[0])
    assert.equal(destroyed.reply?.error, 0)
  }

  private learn({ opcode, nodeid, args }: GuestRequest, reply?: Reply): void {
    this.served++
    if (reply === undefined || reply.error !== 0) return
    const { body } = reply
    if (opcode === Op.READ) this.check(new Reader(args ?? EMPTY_BYTES).u64(), Buffer.from(body).toString())
    else if (opcode === Op.OPEN) this.learnFile(body, this.inos.get(BigInt(nodeid)))
    else if (opcode === Op.OPENDIR) this.remember(this.directories, new Reader(body).u64())
    else if (makers.has(opcode)) {
      const { nodeid, attr } = readEntry(new Reader(body))
      this.remember(this.nodes, nodeid)
      this.inos.set(nodeid, attr.ino)
      if (opcode === Op.CREATE) this.learnFile(body.subarray(ENTRY.argBytes), attr.ino)
    }
  }

  private learnFile(body: Uint8Array, ino: bigint | undefined): void {
    const handle = new Reader(body).u64()
    this.remember(this.files, handle)
    if (ino !== undefined) this.opened.set(handle, ino)
  }

  /** A file begins with the text that the host has put into it, or none, or what the guest has written. */
  private check(handle: bigint, text: string): void {
    const ino = this.opened.get(handle)
    // What is written behind it leaves a hole.
    const [found] = text.split('\0')
    if (found === '' || found.startsWith('x') || ino === undefined) return
    if (found !== this.texts.get(ino)) this.strangers.push(found)
  }

  private remember(known: bigint[], id: bigint): void {
    if (known.length < MOST_KNOWN) known.push(id)
    else known[this.random.below(MOST_KNOWN)] = id
  }

  private guess(known: readonly bigint[]): bigint {
    const id = known.length > 0 ? this.random.pick(known) : 1n
    return this.random.below(4) > 0 ? id : id + GENERATION * BigInt(1 + this.random.below(2))
  }

  private next(): GuestRequest {
    const { random } = this
    const name = cstring(random.pick(random.below(3) > 0 ? NAMES : MANY))
    const other = cstring(random.pick(NAMES))
    const parent = random.below(3) > 0 ? ROOT_ID : this.guess(this.nodes)
    const nodeid = this.guess(this.nodes)
    const file = this.guess(this.files)
    const directory = this.guess(this.directories)
    const range = (at: number) => concat(u64(file, at), u32(DATA_BYTES, 0), u64(0), u32(0, 0))
    const list = concat(u64(directory, random.below(4)), u32(DATA_BYTES, 0), u64(0), u32(0, 0))
    const fsync = (handle: bigint) => concat(u64(handle), u32(0, 0))
    const release = (handle: bigint) => concat(u64(handle), u32(0, 0), u64(0))
    const requests: readonly (() => GuestRequest)[] = [
      () => ({ opcode: Op.LOOKUP, nodeid: parent, args: name, reply: ENTRY }),
      () => ({ opcode: Op.LOOKUP, nodeid: ROOT_ID, args: name, reply: ENTRY }),
      () => ({ opcode: Op.FORGET, nodeid, args: u64(random.below(2) > 0 ? 1n : ALL_LOOKUPS), reply: 'none' }),
      () => ({
        opcode: Op.BATCH_FORGET,
        nodeid: 0,
        args: concat(u32(2, 0), u64(nodeid, 1n), u64(this.guess(this.nodes), ALL_LOOKUPS)),
        reply: 'none',
      }),
      () => ({
        opcode: Op.CREATE,
        nodeid: parent,
        args: concat(u32((random.below(2) * 0o200) | 0o102, 0o644, 0, 0), name),
        reply: ENTRY_AND_OPENED,
      }),
      () => ({ opcode: Op.MKNOD, nodeid: parent, args: concat(u32(0o010644, 0, 0, 0), name), reply: ENTRY }),
      () => ({ opcode: Op.MKDIR, nodeid: parent, args: concat(u32(0o755, 0), name), reply: ENTRY }),
      () => ({ opcode: Op.SYMLINK, nodeid: parent, args: concat(name, cstring('/outside')), reply: ENTRY }),
      () => ({ opcode: Op.UNLINK, nodeid: parent, args: name, reply: EMPTY }),
      () => ({ opcode: Op.RMDIR, nodeid: parent, args: name, reply: EMPTY }),
      () => ({
        opcode: Op.RENAME2,
        nodeid: parent,
        args: concat(u64(random.below(2) > 0 ? ROOT_ID : nodeid), u32(2 * random.below(2), 0), name, other),
        reply: EMPTY,
      }),
      () => ({ opcode: Op.LINK, nodeid: parent, args: concat(u64(nodeid), name), reply: ENTRY }),
      () => ({ opcode: Op.OPEN, nodeid, args: u32(random.pick([0, 2, 0o1002, 0o40002]), 0), reply: OPENED }),
      () => ({ opcode: Op.OPEN, nodeid, args: u32(0, 0), reply: OPENED }),
      () => ({ opcode: Op.OPENDIR, nodeid, args: u32(0, 0), reply: OPENED }),
      () => ({ opcode: Op.OPENDIR, nodeid: ROOT_ID, args: u32(0, 0), reply: OPENED }),
      () => ({ opcode: Op.READ, nodeid, args: range(0), reply: DATA }),
      () => ({
        opcode: Op.WRITE,
        nodeid,
        args: range(random.below(3) * DATA_BYTES),
        data: new TextEncoder().encode(WRITTEN_TEXT),
        reply: WRITTEN,
      }),
      () => ({ opcode: Op.FSYNC, nodeid, args: fsync(file), reply: EMPTY }),
      () => ({ opcode: Op.FSYNCDIR, nodeid, args: fsync(directory), reply: EMPTY }),
      () => ({ opcode: Op.READDIR, nodeid: ROOT_ID, args: list, reply: DATA }),
      () => ({ opcode: Op.READDIRPLUS, nodeid: ROOT_ID, args: list, reply: DATA }),
      () => ({ opcode: Op.RELEASE, nodeid, args: release(file), reply: EMPTY }),
      () => ({ opcode: Op.RELEASE, nodeid, args: release(file), reply: EMPTY }),
      () => ({ opcode: Op.RELEASEDIR, nodeid, args: release(directory), reply: EMPTY }),
      () => ({ opcode: Op.RELEASEDIR, nodeid, args: release(directory), reply: EMPTY }),
      () => this.fs.getattrRequest(nodeid),
    ]
    return random.pick(requests)()
  }
}

for (const [what, args, storage] of [
  ['room for everything', [], 'disk'],
  ['few descriptors', ['--rlimit-nofile', '512'], 'memory'],
  ['few inodes', ['--inode-limit', '30'], 'memory'],
] as const) {
  t.test(`a storm on four queues, with ${what}`, async (t) => {
    const random = seeded(t)
    const outside = tempDir(t)
    const secretPath = join(outside, 'secret')
    writeFileSync(secretPath, SECRET)
    const served = await ThreadedDevice.start(t, 4, args, { storage })
    const { device } = served
    mkdirSync(join(device.directory, 'n0'))
    const texts = new Map<bigint, string>()
    for (const name of MANY) {
      writeFileSync(join(device.directory, name), name)
      texts.set(statSync(join(device.directory, name), { bigint: true }).ino, name)
    }
    symlinkSync(secretPath, join(device.directory, 'n1'))
    // The threads start when a guest first needs them, and stay.
    const first = mount(t, device, { requestQueues: QUEUES.length })
    await served.inUse(QUEUES.length)
    first.close()
    const heldBefore = await device.restingFdCount()
    const fs = mount(t, device, { requestQueues: QUEUES.length })
    fs.roomMayChange = true
    await served.inUse(QUEUES.length)
    const heldByThreads = await device.restingFdCount()
    const strangers: string[] = []
    let requests = 0
    for (let session = 0; session < SESSIONS; session++) {
      if (session > 0) fs.init()
      await served.inUse(QUEUES.length)
      const storm = new Storm(fs, random, texts)
      storm.run(performance.now() + STORM_MS)
      strangers.push(...storm.strangers)
      requests += storm.served
    }
    t.comment(`${requests} requests`)
    t.strictSame(strangers, [], 'each handle reads its own file')
    // A guest that behaves well.
    fs.init()
    await served.inUse(QUEUES.length)
    t.ok((await device.restingFdCount()) <= heldByThreads, 'the sessions have left no descriptor')
    t.equal(readFileSync(secretPath, 'utf8'), SECRET)
    const { nodeid, handle } = fs.create(ROOT_ID, 'after', 2)
    fs.write(nodeid, handle, 0, new TextEncoder().encode('text'))
    t.equal(Buffer.from(fs.read(nodeid, handle, 0, 10)).toString(), 'text')
    fs.release(nodeid, handle)
    fs.forgetAll()
    fs.close()
    await assertSurvival(t, device, heldBefore)
  })
}
