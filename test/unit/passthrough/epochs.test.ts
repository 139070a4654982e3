/** What threads have given up, and the batches that hold it up. */
import t from 'tap'
import { Epochs } from '../../../src/passthrough/shared/epochs.js'

const GLOBAL = 0

/** Two threads. `freed`: what the first one has given up and freed. */
function start() {
  const words = new Int32Array(new SharedArrayBuffer(4 * Epochs.wordCount(2)))
  const freed: number[] = []
  const [one, other] = [0, 1].map((thread) => new Epochs(words, thread, 2, (value) => freed.push(value))) as [
    Epochs,
    Epochs,
  ]
  return { words, freed, one, other }
}

t.test(
  'a batch that does not end holds up what was given up since it began, however many others end',
  async (t) => {
    const { words, freed, one, other } = start()
    other.enter()
    const began = words[GLOBAL]
    // As if the first thread had ended so many batches.
    for (const ahead of [2 ** 30 - 2, 2 ** 31 - 6]) {
      if (((words[GLOBAL] - began) | 0) < 2 ** 30) Atomics.store(words, GLOBAL, (began + ahead) | 0)
      one.retire(ahead)
      for (let n = 0; n < 10; n++) one.collect()
    }
    t.same(freed, [])
    t.ok(((words[GLOBAL] - began) | 0) > 0, 'the epochs can be compared')
    t.ok(one.isHeldUp)
    other.leave()
    one.collect()
    one.collect()
    t.same(freed, [2 ** 30 - 2, 2 ** 31 - 6])
    t.notOk(one.isHeldUp)
    const before = words[GLOBAL]
    one.collect()
    t.equal(words[GLOBAL], (before + 2) | 0, 'the epoch goes on')
  },
)

t.test('epochs wrap around', async (t) => {
  const { words, freed, one, other } = start()
  Atomics.store(words, GLOBAL, 2 ** 31 - 1)
  const [late] = [new Epochs(words, 0, 2, (value) => freed.push(value))]
  other.enter()
  late.retire(1)
  late.collect()
  t.same(freed, [])
  other.leave()
  late.collect()
  t.same(freed, [1])
  one.leave()
})
