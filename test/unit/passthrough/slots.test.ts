import t from 'tap'
import { generationOfId, idOf, slotOfId } from 'virtio-fs-ts/protocol'

t.test('a node id holds its slot and generation', async (t) => {
  for (const [slot, generation] of [
    [1, 0],
    [0xffffffff, 0],
    [7, 1],
    [0xffffffff, 0x1fffff],
  ] as const) {
    const id = idOf(slot, generation)
    t.ok(Number.isSafeInteger(id))
    t.equal(slotOfId(id), slot)
    t.equal(generationOfId(id), generation)
  }
})

t.test('an id that was beyond 2^53 reaches no slot', async (t) => {
  t.equal(slotOfId(-1), 0xffffffff)
})
