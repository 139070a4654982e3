import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Device } from '../device/device.js'
import { Op, ROOT_ID } from './fuse-abi.js'
import type { Call } from './fuse-client.js'
import type { FuseGuest } from './fuse-guest.js'
import { concat, u32, u64 } from './fuse-wire.js'

const O_RDWR = 2
const O_APPEND = 0o2000
const RECORD_BYTES = 8

/**
 * Load that reveals lost or repeated requests: each one appends its own record to a file, so that the file must hold
 * every record exactly once, in any order.
 */
export class AppendLoad {
  private readonly file: bigint
  private readonly handle: bigint
  private readonly pending: Call[][]
  private count = 0

  constructor(
    private readonly device: Device,
    private readonly fs: FuseGuest,
    private readonly name: string,
  ) {
    const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
    this.file = nodeid
    this.handle = handle
    this.pending = fs.frontend.queues.map(() => [])
  }

  /** Puts `count` requests on a queue. */
  submit(count: number, queue: number): void {
    for (let n = 0; n < count; n++) {
      const data = u64(this.count++)
      const args = concat(u64(this.handle, 0), u32(data.length, 0), u64(0), u32(O_RDWR | O_APPEND, 0))
      const request = { opcode: Op.WRITE, nodeid: this.file, args, data, reply: { argBytes: 8 } }
      this.pending[queue].push(this.fs.start(request, queue))
    }
  }

  /** Waits for every request of a queue, and checks that each has succeeded. */
  collect(queue: number): void {
    for (const call of this.pending[queue].splice(0)) {
      // The device completes requests in any order.
      while (call.reply === undefined) this.fs.finish(queue)
      assert.equal(call.reply.error, 0)
    }
  }

  /** Checks that the file holds each record exactly once. */
  assertExact(): void {
    const file = readFileSync(join(this.device.directory, this.name))
    assert.equal(file.length, this.count * RECORD_BYTES, 'as many records as requests')
    const records = new Set<bigint>()
    for (let at = 0; at < file.length; at += RECORD_BYTES) records.add(file.readBigUint64LE(at))
    assert.equal(records.size, this.count, 'each record once')
    for (let n = 0; n < this.count; n++) assert.ok(records.has(BigInt(n)), `record ${n}`)
    this.fs.release(this.file, this.handle)
  }
}
