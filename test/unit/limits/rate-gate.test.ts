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

t.test('requests that are paid for together are counted one by one', async (t) => {
  const burst = 1000
  for (const perBatch of [1, 7, 64, 200]) {
    const gate = new RateGate(new Counters())
    gate.limits = { ...noRateLimits, iops: { perSecond: 0, burst } }
    const getattr = { opcode: Opcode.GETATTR, carrier: {} } as unknown as Request
    let passed = 0
    for (let n = 0; gate.count === 0 && n < 2 * burst; n++) {
      if (n % perBatch === 0) gate.progress(performance.now(), () => {})
      if (gate.admit(getattr, false)) passed++
    }
    t.equal(passed, burst, `${perBatch} in a batch`)
  }
})

t.test('a change of the limit gives back what was paid for and not used', async (t) => {
  const gate = new RateGate(new Counters())
  gate.limits = { ...noRateLimits, iops: { perSecond: 0, burst: 1000 } }
  const getattr = { opcode: Opcode.GETATTR, carrier: {} } as unknown as Request
  gate.progress(performance.now(), () => {})
  t.ok(gate.admit(getattr, false))
  gate.limits = { ...noRateLimits, iops: { perSecond: 0, burst: 999 } }
  let passed = 0
  while (gate.admit(getattr, false)) passed++
  t.equal(passed, 999)
})
