/** The order in which forgotten inodes are dropped. */
import t from 'tap'
import { GivenBackInodes } from '../../../src/passthrough/inodes/given-back-inodes.js'

/** Slots of several chunks. */
const slots = [7, 3, 40_000, 2, 16_384, 100_000]

function filled(): GivenBackInodes {
  const inodes = new GivenBackInodes()
  for (const slot of slots) inodes.add(slot)
  return inodes
}

function drained(inodes: GivenBackInodes): number[] {
  const order: number[] = []
  while (inodes.oldest !== 0) {
    order.push(inodes.oldest)
    inodes.remove(inodes.oldest)
  }
  return order
}

t.test('inodes are returned in the order in which they were added', async (t) => {
  const inodes = filled()
  t.equal(inodes.count, slots.length)
  t.same(drained(inodes), slots)
  t.equal(inodes.count, 0)
})

t.test('an inode that was removed is gone, from any position; added again it is the newest', async (t) => {
  for (const slot of slots) {
    const inodes = filled()
    inodes.remove(slot)
    t.notOk(inodes.has(slot))
    const others = slots.filter((other) => other !== slot)
    for (const other of others) t.ok(inodes.has(other))
    inodes.add(slot)
    t.same(drained(inodes), [...others, slot])
  }
})

t.test('the list is empty at first, and after clear', async (t) => {
  const inodes = filled()
  inodes.clear()
  for (const none of [inodes, new GivenBackInodes()]) {
    t.equal(none.oldest, 0)
    for (const slot of [...slots, 5, 1_000_000]) t.notOk(none.has(slot))
  }
})
