import t from 'tap'
import { TableLock } from '../../../src/passthrough/shared/table-guard.js'
import { breakTables, makeTableMemory, wordLayout } from '../../../src/passthrough/shared/table-memory.js'

t.test('after a thread has failed, nobody gets the lock, whoever had it', async (t) => {
  for (const isHeld of [false, true]) {
    const memory = makeTableMemory(2)
    const [one, other] = [0, 1].map(
      () => new TableLock(new Int32Array(memory.words), wordLayout(2).lock),
    ) as [TableLock, TableLock]
    one.lock()
    if (!isHeld) one.unlock()
    breakTables(memory)
    if (isHeld) one.unlock()
    t.throws(() => other.lock(), /another thread of this share has failed/)
  }
})
