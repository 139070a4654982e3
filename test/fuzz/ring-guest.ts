import { strict as assert } from 'node:assert'
import { GuestMemory, PENDING } from 'vhost-user-ts'
import { DriverVirtqueue } from 'vhost-user-ts/frontend'
import type { FsDevice } from 'virtio-fs-ts'
import * as native from 'virtiofsd-ts-native'
import { SplitVirtqueue } from '#vhost-user/rings/split-virtqueue'
import { ok } from '../support/device/descriptors.js'
import { layoutAt } from '../support/rings/ring.js'
import type { ByteSource } from './byte-source.js'
import type { MadeRequest, SeenReply } from './fuse-fuzzer.js'

const MIB = 1 << 20
const MEMORY_BYTES = 4 * MIB
const QUEUE_SIZE = 16
const INDIRECT_GPA = 0x1_0000
const REQUEST_GPA = MIB
const REPLY_GPA = 2 * MIB
/** Requests in flight at most, each with a part of the memory of its own. */
const PLACES = 8
const PLACE_BYTES = MIB / PLACES
const OUT_HEADER_BYTES = 16
const MAX_ERROR = 512

interface InFlight {
  readonly opcode: number
  readonly unique: bigint
  readonly replyGpa: number
  readonly roomBytes: number
}

/** A guest's ring, and the device's side of it, in one thread. */
export class RingGuest {
  private readonly memory = new GuestMemory()
  private readonly driver: DriverVirtqueue
  private readonly queue: SplitVirtqueue
  private readonly inFlight = new Map<number, InFlight>()
  private nextPlace = 0

  /** `bytes` decide how requests are cut; each reply goes to `learn`. */
  constructor(
    private readonly bytes: ByteSource,
    private readonly learn: (reply: SeenReply) => void,
  ) {
    const fd = ok(native.memfdCreate(MEMORY_BYTES))
    this.memory.add(fd, 0, MEMORY_BYTES, 0, 0)
    native.close(fd)
    const layout = layoutAt(0, QUEUE_SIZE)
    this.driver = new DriverVirtqueue(this.memory, layout, false, INDIRECT_GPA)
    this.queue = new SplitVirtqueue(this.memory, layout, false, true, 0)
  }

  get isFull(): boolean {
    return this.inFlight.size === PLACES
  }

  close(): void {
    this.driver.close()
    this.queue.close()
    this.memory.destroy()
  }

  submit({ opcode, unique, whole }: MadeRequest): void {
    const { bytes, driver } = this
    const place = this.nextPlace++ % PLACES
    const requestGpa = REQUEST_GPA + place * PLACE_BYTES
    const replyGpa = REPLY_GPA + place * PLACE_BYTES
    const roomBytes = bytes.oneIn(8) ? bytes.below(300) : bytes.pick([4096 + 16, 200, 8192])
    ok(
      native.guestWrite(
        this.memory.id,
        Float64Array.of(requestGpa, whole.length),
        0,
        1,
        0,
        whole.length,
        whole,
        0,
      ),
    )
    const head = driver.submit(this.cut(requestGpa, whole.length), this.cut(replyGpa, roomBytes))
    this.inFlight.set(head, { opcode, unique, replyGpa, roomBytes })
  }

  /** In one to four pieces, cut wherever it is. */
  private cut(gpa: number, lenBytes: number) {
    const cuts = new Set([0, lenBytes])
    for (let n = this.bytes.below(4); n > 0 && lenBytes > 0; n--) cuts.add(this.bytes.below(lenBytes))
    const sorted = [...cuts].sort((a, b) => a - b)
    return sorted.slice(1).map((end, n) => ({ gpa: gpa + sorted[n], lenBytes: end - sorted[n] }))
  }

  /** The device's turn: answers every request on the ring. */
  serve(device: FsDevice): void {
    const { queue } = this
    for (let waiting = queue.available(); waiting > 0; waiting--) {
      const chain = queue.pop()
      assert.ok(chain !== undefined, queue.fault)
      const writtenBytes = device.process(chain, 1)
      if (writtenBytes !== PENDING) queue.complete(chain, writtenBytes)
      device.progress(performance.now())
    }
    device.drain()
    while (this.inFlight.size > 0) this.checkReply()
  }

  /** Checks a reply as Linux 7.3 does. */
  private checkReply(): void {
    const used = this.driver.reap(0)
    assert.ok(used !== undefined, 'a request that has no answer')
    const request = this.inFlight.get(used.head)
    assert.ok(request !== undefined)
    this.inFlight.delete(used.head)
    const { opcode, unique, replyGpa, roomBytes } = request
    const { writtenBytes } = used
    if (writtenBytes === 0) return
    assert.ok(
      writtenBytes >= OUT_HEADER_BYTES && writtenBytes <= roomBytes,
      `${writtenBytes} of ${roomBytes} bytes`,
    )
    const whole = new Uint8Array(writtenBytes)
    ok(
      native.guestRead(
        this.memory.id,
        Float64Array.of(replyGpa, writtenBytes),
        0,
        1,
        0,
        writtenBytes,
        whole,
        0,
      ),
    )
    const view = new DataView(whole.buffer)
    assert.equal(view.getUint32(0, true), writtenBytes, `length of the reply to opcode ${opcode}`)
    assert.equal(view.getBigUint64(8, true), unique)
    const error = view.getInt32(4, true)
    assert.ok(error <= 0 && error > -MAX_ERROR && (error === 0 || writtenBytes === OUT_HEADER_BYTES))
    this.learn({ opcode, error, body: new DataView(whole.buffer, OUT_HEADER_BYTES) })
  }
}
