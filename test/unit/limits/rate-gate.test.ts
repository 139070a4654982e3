/** Limits of a share, without a device. */
import t from 'tap'
import { Counters, Opcode, type Request, WriteIn } from 'virtio-fs-ts/protocol'
import { RateGate } from '../../../src/limits/rate-gate.js'
import { noRateLimits } from '../../../src/limits/rate-words.js'

const BURST = 1_000_000

t.test('what a copy has moved counts for the writes behind it, in the same batch', async (t) => {
  const counters = new Counters()
  const gate = new RateGate(counters)
  gate.limits = { ...noRateLimits, writeBytes: { perSecond: 1, burst: BURST } }
  // Nothing but what a gate reads of a request.
  const args = new DataView(new ArrayBuffer(256))
  const write = { opcode: Opcode.WRITE, args, carrier: {}, replyRoomBytes: 0 } as unknown as Request
  t.equal(WriteIn.sizeBytes(args, 0), 0)
  gate.progress(performance.now(), () => {})
  t.ok(gate.admit(write, false))
  t.ok(gate.admit(write, false))
  counters.copied(2 * BURST)
  t.notOk(gate.admit(write, false), 'it waits until the copy is paid for')
  t.equal(gate.count, 1)
})
