/** Numbers that two packages both have, because each works without the other, are the same. */
import t from 'tap'
import { PENDING as chainPending } from 'vhost-user-ts'
import { QUEUE_COUNT } from 'virtio-fs-ts'
import { MAX_QUEUES } from '#vhost-user/protocol'
import * as vhostUserWire from '#vhost-user/session/wire'
import { PENDING } from '#virtio-fs/session'
import * as virtioFsWire from '#virtio-fs/wire/numbers'

t.test('PENDING is the same in both packages', async (t) => {
  t.equal(PENDING, chainPending)
})

t.test('the highest number of queues is the same in both places', async (t) => {
  t.equal(QUEUE_COUNT, MAX_QUEUES)
})

t.test('64-bit numbers are read and written alike in both packages', async (t) => {
  const view = new DataView(new ArrayBuffer(8))
  for (const value of [0n, 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n]) {
    view.setBigUint64(0, value, true)
    const read = value < 2n ** 53n ? Number(value) : -1
    t.equal(vhostUserWire.readSafeU64(view, 0), read)
    t.equal(virtioFsWire.readSafeU64(view, 0), read)
    if (read < 0) continue
    for (const write of [vhostUserWire.writeSafeU64, virtioFsWire.writeU64]) {
      view.setBigUint64(0, 0n)
      write(view, 0, read)
      t.equal(view.getBigUint64(0, true), value)
    }
  }
})
