import t, { type Test } from 'tap'
import { FaultLog, silentLogger } from 'vhost-user-ts'

/** A FaultLog whose clock the test moves, and what it logged. */
function faultLog(t: Test): { faults: FaultLog; lines: unknown[]; moveMs: (ms: number) => void } {
  let nowMs = 5000
  const { now } = performance
  performance.now = () => nowMs
  t.teardown(() => {
    performance.now = now
  })
  const lines: unknown[] = []
  const warn = (fields: object, text: string) => lines.push({ text, ...fields })
  const moveMs = (ms: number) => {
    nowMs += ms
  }
  return { faults: new FaultLog({ ...silentLogger, warn }), lines, moveMs }
}

t.test(
  'the first fault of a kind is logged at once, others of its kind within a second are not',
  async (t) => {
    const { faults, lines, moveMs } = faultLog(t)
    faults.warn('bad chain', { queue: 1 })
    faults.warn('bad chain', { queue: 2 })
    moveMs(999)
    faults.warn('bad chain', { queue: 3 })
    t.same(lines, [{ text: 'bad chain', queue: 1 }])
  },
)

t.test('after a second the next is logged, with the number of those left out', async (t) => {
  const { faults, lines, moveMs } = faultLog(t)
  for (let n = 0; n < 4; n++) faults.warn('bad chain', { n })
  moveMs(1000)
  faults.warn('bad chain', { n: 4 })
  moveMs(1000)
  faults.warn('bad chain', { n: 5 })
  t.same(lines, [
    { text: 'bad chain', n: 0 },
    { text: 'bad chain', n: 4, leftOut: 3 },
    { text: 'bad chain', n: 5 },
  ])
})

t.test('one kind does not hide another', async (t) => {
  const { faults, lines } = faultLog(t)
  faults.warn('bad chain', {})
  faults.warn('bad name', {})
  faults.warn('bad name', {})
  t.same(lines, [{ text: 'bad chain' }, { text: 'bad name' }])
})

t.test('a flood does not delay the next line', async (t) => {
  const { faults, lines, moveMs } = faultLog(t)
  for (let n = 0; n < 30; n++) {
    faults.warn('bad chain', {})
    moveMs(100)
  }
  t.equal(lines.length, 3)
})
