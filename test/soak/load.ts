import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { type Call, EMPTY, FuseError, type GuestRequest } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, cstring, ENTRY_BYTES, Reader, readEntry, u32, u64 } from '../support/fuse/fuse-wire.js'
import type { Random } from '../support/random.js'
import { FileModel } from './file-model.js'

const O_RDWR = 2
const REGULAR = 0o100644
const MAX_FILES = 48
const MAX_FILE_BYTES = 512 * 1024
const SLOT_BYTES = 16 * 1024
const MAX_BATCH = 16
/** Requests on each queue at a time, where all of them get the same. */
const DEPTH = 8

/** The error of injected faults, by name and number: no file system returns it. */
export const INJECTED = 'EDOM'
const EDOM = 33

const isInjected = (error: unknown) => error instanceof FuseError && error.errno === EDOM

/** A write that was sent. */
interface SentWrite {
  readonly call: Call
  readonly at: number
  readonly data: Uint8Array
}

/** Makes, fills, moves and removes files, and keeps a model of the contents of each. */
export class Load {
  /** Requests that were answered. */
  requests = 0
  /** Bytes that were compared. */
  verifiedBytes = 0
  private readonly files = new Map<string, FileModel>()
  private made = 0
  private sent: { readonly model: FileModel; readonly writes: SentWrite[] } | undefined

  constructor(
    private readonly random: Random,
    private readonly directory: string,
    private readonly queues = 2,
  ) {}

  /** Makes one operation, and checks its result. An injected error ends it early. */
  step(fs: FuseGuest): void {
    const { random } = this
    const steps = [
      ...[this.writeBatch, this.writeBatch, this.writeBatch, this.readBack, this.readBack, this.readBack],
      ...[this.create, this.rename, this.unlink, this.truncate, this.punch, this.copy, this.list, this.stat],
      ...[this.lookUpOnAllQueues, this.readOnAllQueues, this.makeAndRemoveOnAllQueues],
    ]
    fs.queue = 1 + random.below(this.queues)
    try {
      random.pick(steps).call(this, fs)
    } catch (error) {
      if (!isInjected(error)) throw error
    }
    fs.forgetAll()
  }

  /** Checks that every file on the host has the right contents. */
  checkOnHost(): void {
    for (const [name, model] of this.files) {
      const actual = readFileSync(join(this.directory, name))
      model.settle(actual)
      this.verifiedBytes += actual.length
    }
  }

  /** Sends writes without waiting for them, because the front-end or the device is about to end. */
  leaveWritesUnanswered(fs: FuseGuest): void {
    const [name, model] = this.anyFile(fs)
    const node = fs.lookup(ROOT_ID, name).nodeid
    const { handle } = fs.open(node, O_RDWR)
    const writes = this.startWrites(fs, node, handle, model)
    for (const { call, at, data } of writes) if (call.reply === undefined) model.leaveUnanswered(at, data)
  }

  /** Marks the writes that were sent and have no answer as uncertain. */
  abandon(): void {
    const { sent } = this
    this.sent = undefined
    for (const { call, at, data } of sent?.writes ?? [])
      if (call.reply === undefined) sent?.model.leaveUnanswered(at, data)
  }

  private create(fs: FuseGuest): [string, FileModel] {
    const name = `file-${this.made++}`
    const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
    const model = new FileModel()
    this.files.set(name, model)
    this.requests++
    this.release(fs, nodeid, handle)
    return [name, model]
  }

  private anyFile(fs: FuseGuest): [string, FileModel] {
    if (this.files.size === 0) return this.create(fs)
    return this.random.pick([...this.files])
  }

  private opened(
    fs: FuseGuest,
    use: (nodeid: bigint, handle: bigint, model: FileModel, name: string) => void,
  ): void {
    const [name, model] = this.anyFile(fs)
    const { nodeid } = fs.lookup(ROOT_ID, name)
    const { handle } = fs.open(nodeid, O_RDWR)
    this.requests += 2
    try {
      use(nodeid, handle, model, name)
    } finally {
      this.release(fs, nodeid, handle)
    }
  }

  /** Releases a handle in any case: a refused RELEASE is sent again. */
  private release(fs: FuseGuest, nodeid: bigint, handle: bigint): void {
    for (;;) {
      try {
        fs.release(nodeid, handle)
        this.requests++
        return
      } catch (error) {
        if (!isInjected(error)) throw error
      }
    }
  }

  private startWrites(fs: FuseGuest, nodeid: bigint, handle: bigint, model: FileModel): SentWrite[] {
    const { random } = this
    const slots = Array.from({ length: MAX_FILE_BYTES / SLOT_BYTES }, (_, n) => n)
    const writes: SentWrite[] = []
    this.sent = { model, writes }
    for (let n = 1 + random.below(MAX_BATCH); n > 0; n--) {
      const [slot] = slots.splice(random.below(slots.length), 1)
      const at = (slot ?? 0) * SLOT_BYTES + random.below(1024)
      const data = new Uint8Array(1 + random.below(SLOT_BYTES - 1024)).fill(1 + random.below(255))
      const args = concat(u64(handle, at), u32(data.length, 0), u64(0), u32(O_RDWR, 0))
      const request = { opcode: Op.WRITE, nodeid, args, data, reply: { argBytes: 8 } }
      writes.push({ call: fs.start(request, 1 + random.below(this.queues)), at, data })
    }
    return writes
  }

  private writeBatch(fs: FuseGuest): void {
    this.opened(fs, (nodeid, handle, model) => {
      const writes = this.startWrites(fs, nodeid, handle, model)
      for (const { call, at, data } of writes) {
        while (call.reply === undefined) this.finishAny(fs)
        const { error, body } = call.reply
        if (error === 0) model.write(at, data.subarray(0, new Reader(body).u32()))
        else assert.equal(error, EDOM)
      }
      this.sent = undefined
      this.requests += writes.length
      if (this.random.below(4) === 0) {
        fs.fsync(nodeid, handle)
        this.requests++
      }
    })
  }

  private finishAny(fs: FuseGuest): void {
    for (let queue = 1; queue <= this.queues; queue++)
      if (fs.frontend.queues[queue].inFlightCount > 0) fs.finish(queue)
  }

  /** Reads a whole file in pieces, several at once. */
  private readBack(fs: FuseGuest): void {
    this.opened(fs, (nodeid, handle, model) => {
      const pieceBytes = 4096 << this.random.below(5)
      for (let at = 0; at < model.bytes.length; at += pieceBytes) {
        const read = fs.read(nodeid, handle, at, pieceBytes)
        // A fault may have cut it short.
        assert.ok(model.bytes.subarray(at, at + read.length).equals(read), `bytes from ${at} on`)
        this.verifiedBytes += read.length
        this.requests++
      }
    })
  }

  private truncate(fs: FuseGuest): void {
    this.opened(fs, (nodeid, handle, model) => {
      const size = this.random.below(MAX_FILE_BYTES)
      const change = this.random.below(2) === 0 ? { size } : { size, handle }
      fs.setattr(nodeid, change)
      model.truncate(size)
      this.requests++
    })
  }

  private punch(fs: FuseGuest): void {
    this.opened(fs, (nodeid, handle, model) => {
      const at = this.random.below(MAX_FILE_BYTES)
      const lenBytes = 1 + this.random.below(SLOT_BYTES)
      fs.fallocate(nodeid, handle, at, lenBytes, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE)
      model.punch(at, lenBytes)
      this.requests++
    })
  }

  private copy(fs: FuseGuest): void {
    this.opened(fs, (from, fromHandle, source) => {
      this.opened(fs, (to, toHandle, model) => {
        if (model === source || source.bytes.length === 0) return
        const at = this.random.below(source.bytes.length)
        const lenBytes = Math.min(SLOT_BYTES, source.bytes.length - at)
        const copied = fs.copyFileRange([from, fromHandle, at], [to, toHandle, at], lenBytes)
        model.write(at, source.bytes.subarray(at, at + copied))
        this.requests++
      })
    })
  }

  private rename(fs: FuseGuest): void {
    const [name, model] = this.anyFile(fs)
    const newName = this.random.below(2) === 0 ? this.anyFile(fs)[0] : `file-${this.made++}`
    fs.rename(ROOT_ID, name, ROOT_ID, newName)
    this.requests++
    this.files.delete(name)
    this.files.set(newName, model)
  }

  private unlink(fs: FuseGuest): void {
    if (this.files.size < MAX_FILES / 2 && this.random.below(4) > 0) return
    const [name] = this.anyFile(fs)
    fs.unlink(ROOT_ID, name)
    this.files.delete(name)
    this.requests++
  }

  private list(fs: FuseGuest): void {
    const { handle } = fs.opendir(ROOT_ID)
    const names: string[] = []
    try {
      let offset = 0n
      for (;;) {
        const dirents = fs.readdirplus(ROOT_ID, handle, offset, 4096)
        this.requests++
        const last = dirents.at(-1)
        if (last === undefined) break
        names.push(...dirents.map(({ name }) => name))
        offset = last.off
      }
    } finally {
      this.releaseDirectory(fs, handle)
    }
    const found = names.filter((name) => name.startsWith('file-')).sort()
    assert.deepEqual(found, [...this.files.keys()].sort())
  }

  private releaseDirectory(fs: FuseGuest, handle: bigint): void {
    for (;;) {
      try {
        fs.releasedir(ROOT_ID, handle)
        return
      } catch (error) {
        if (!isInjected(error)) throw error
      }
    }
  }

  /** Starts requests on each queue, and waits for all of them. `made(n)`: the n-th of a queue. Counts lookups that it is granted. */
  private onAllQueues(fs: FuseGuest, made: (queue: number, n: number) => GuestRequest): Call[] {
    const calls: Call[] = []
    for (let n = 0; n < DEPTH; n++)
      for (let queue = 1; queue <= this.queues; queue++) calls.push(fs.start(made(queue, n), queue))
    for (const call of calls) while (call.reply === undefined) this.finishAny(fs)
    this.requests += calls.length
    for (const { request, reply } of calls) {
      const grantsLookup = request.opcode === Op.LOOKUP || request.opcode === Op.MKNOD
      if (grantsLookup && reply?.error === 0) fs.granted(readEntry(new Reader(reply.body)))
      assert.ok(reply?.error === 0 || reply?.error === EDOM, `opcode ${request.opcode}: ${reply?.error}`)
    }
    return calls
  }

  /** Looks the same files up by all queues: each has one node id. */
  private lookUpOnAllQueues(fs: FuseGuest): void {
    const files = Array.from({ length: DEPTH }, () => this.anyFile(fs))
    const request = (n: number) => ({
      opcode: Op.LOOKUP,
      nodeid: ROOT_ID,
      args: cstring(files[n]?.[0] ?? ''),
      reply: { argBytes: ENTRY_BYTES },
    })
    const nodeids = new Map<FileModel, bigint>()
    const calls = this.onAllQueues(fs, (_, n) => request(n))
    for (const [at, { reply }] of calls.entries()) {
      const model = files[Math.floor(at / this.queues)]?.[1]
      if (model === undefined || reply?.error !== 0) continue
      const { nodeid, attr } = readEntry(new Reader(reply.body))
      assert.equal(attr.size, BigInt(model.bytes.length))
      assert.equal(nodeid, nodeids.get(model) ?? nodeid, 'one node id for each file')
      nodeids.set(model, nodeid)
    }
  }

  /** Reads a file by one handle on all queues. */
  private readOnAllQueues(fs: FuseGuest): void {
    this.opened(fs, (nodeid, handle, model) => {
      const offsets = Array.from({ length: DEPTH }, () => this.random.below(MAX_FILE_BYTES))
      const calls = this.onAllQueues(fs, (_, n) =>
        fs.readRequest(nodeid, handle, offsets[n] ?? 0, SLOT_BYTES),
      )
      for (const [n, { reply }] of calls.entries()) {
        if (reply?.error !== 0) continue
        const at = offsets[Math.floor(n / this.queues)] ?? 0
        // A fault may have cut it short.
        const expected = model.bytes.subarray(at, at + reply.body.length)
        assert.ok(expected.equals(reply.body), `bytes from ${at} on`)
        this.verifiedBytes += reply.body.length
      }
    })
  }

  /** Makes files of their own by all queues, in one directory, and removes them. */
  private makeAndRemoveOnAllQueues(fs: FuseGuest): void {
    const name = (queue: number, n: number) => cstring(`made-${queue}-${n}`)
    const made = this.onAllQueues(fs, (queue, n) => ({
      opcode: Op.MKNOD,
      nodeid: ROOT_ID,
      args: concat(u32(REGULAR, 0, 0, 0), name(queue, n)),
      reply: { argBytes: ENTRY_BYTES },
    }))
    for (const [at, call] of made.entries()) {
      if (call.reply?.error !== 0) continue
      const place = [1 + (at % this.queues), Math.floor(at / this.queues)] as const
      // By another queue than the one that made it.
      fs.queue = 1 + (at % this.queues) === this.queues ? 1 : 2 + (at % this.queues)
      this.remove(fs, name(...place))
    }
  }

  /** Removes a name in any case: a refused UNLINK is sent again. */
  private remove(fs: FuseGuest, name: Uint8Array): void {
    let reply = fs.call({ opcode: Op.UNLINK, nodeid: ROOT_ID, args: name, reply: EMPTY })
    while (reply.error === EDOM)
      reply = fs.call({ opcode: Op.UNLINK, nodeid: ROOT_ID, args: name, reply: EMPTY })
    assert.equal(reply.error, 0)
    this.requests++
  }

  private stat(fs: FuseGuest): void {
    const [name, model] = this.anyFile(fs)
    const { nodeid, attr } = fs.lookup(ROOT_ID, name)
    assert.equal(attr.size, BigInt(model.bytes.length))
    assert.equal(fs.getattr(nodeid).attr.size, BigInt(model.bytes.length))
    this.requests += 2
  }
}
