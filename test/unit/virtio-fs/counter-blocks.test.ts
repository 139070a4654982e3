/** The counters of several threads are added up. */
import t from 'tap'
import { CounterBlocks, Counters, Opcode } from 'virtio-fs-ts/protocol'

t.test('blocks that other threads write are one for those who read', async (t) => {
  const all = new CounterBlocks(3)
  all.isTimed = true
  for (const [n, memory] of all.memory.entries()) {
    const counters = new Counters(memory)
    t.ok(counters.isTimed, 'each thread hears of it')
    for (let count = 0; count <= n; count++) counters.asked(Opcode.WRITE)
    counters.wrote(10)
    counters.failed(Opcode.LOOKUP)
    counters.answered(Opcode.WRITE, performance.now())
  }
  const { sum } = all
  t.same(sum.report(), { requests: { WRITE: 6 }, errors: { LOOKUP: 3 } })
  t.equal(sum.writtenBytes, 30)
  t.match(sum.latencyReport(), [{ opcode: 'WRITE', count: 3 }])
})

t.test('a request that another thread serves is counted once', async (t) => {
  const all = new CounterBlocks(2)
  const [first, second] = all.blocks
  second?.asked(Opcode.INIT)
  second?.withdrawn(Opcode.INIT)
  first?.asked(Opcode.INIT)
  t.same(all.sum.report().requests, { INIT: 1 })
})

t.test('one block is read as it is', async (t) => {
  const all = new CounterBlocks(1)
  t.equal(all.sum, all.blocks[0])
})
