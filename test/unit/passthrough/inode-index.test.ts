import t from 'tap'
import { InodeIndex, OwnShards, SHARDS } from '../../../src/passthrough/inodes/inode-index.js'

const COUNT = 20_000

/** Inode numbers by slot, on two devices. */
const keys = {
  deviceOf: (slot: number) => 1 + (slot % 2),
  inoLowOf: (slot: number) => Math.imul(slot >>> 1, 0x1234567),
  inoHighOf: (slot: number) => slot % 3,
}

const find = (index: InodeIndex, slot: number) =>
  index.find(keys.deviceOf(slot), keys.inoLowOf(slot), keys.inoHighOf(slot))

for (const reservedAfter of [undefined, 0, 1, COUNT / 2, COUNT]) {
  t.test(`inodes are found and removed; room is made after ${reservedAfter} of them`, (t) => {
    const index = new InodeIndex(keys, new OwnShards(), new Int32Array(SHARDS))
    for (let slot = 1; slot <= COUNT; slot++) {
      if (slot - 1 === reservedAfter) index.reserve(COUNT)
      index.add(slot)
    }
    if (reservedAfter === COUNT) index.reserve(2 * COUNT)
    const wrong = (expected: (slot: number) => number) => {
      const slots = Array.from({ length: COUNT }, (_, n) => n + 1)
      return slots.filter((slot) => find(index, slot) !== expected(slot))
    }
    t.same(
      wrong((slot) => slot),
      [],
      'every inode is found',
    )
    for (let slot = 1; slot <= COUNT; slot += 2) index.remove(slot)
    index.reserve(COUNT)
    t.same(
      wrong((slot) => (slot % 2 === 0 ? slot : 0)),
      [],
      'only those that stay',
    )
    t.equal(find(index, COUNT + 2), 0)
    t.end()
  })
}
