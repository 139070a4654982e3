/** Memory that is added, replaced and removed under the rings of a session. */
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { ok } from '../../support/device/descriptors.js'
import { MIB } from '../../support/rings/guest-ram.js'
import {
  memoryTable,
  oneRegion,
  Req,
  type SessionPeer,
  u64,
  withPeer,
} from '../../support/rings/session-peer.js'

const LOW = { gpa: 0, sizeBytes: MIB }
const HIGH = { gpa: 8 * MIB, sizeBytes: MIB }

/** Hands a descriptor over and keeps none. */
const giveEventfd = (peer: SessionPeer, request: number, index: number) =>
  peer.takesEventfd(request, u64(index))

function giveMemory(
  peer: SessionPeer,
  request: number,
  payload: Uint8Array,
  sizes: readonly number[],
): boolean {
  const fds = sizes.map((sizeBytes) => ok(native.memfdCreate(sizeBytes)))
  return peer.takesFds(request, payload, fds)
}

t.test('a replaced memory table takes running rings along', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    t.ok(giveMemory(peer, Req.SET_MEM_TABLE, memoryTable(LOW), [MIB]))
    peer.start(0, 0, 7).start(1, 0x10000, 9)
    const old = peer.session.rings.memory
    peer.takeEvents()
    t.ok(giveMemory(peer, Req.SET_MEM_TABLE, memoryTable(LOW, HIGH), [MIB, MIB]))
    t.same(peer.takeEvents(), ['drain', 'stop 0', 'drain', 'stop 1', 'start 0', 'start 1'])
    t.ok(peer.session.rings.memory !== old)
    t.equal(old.regionCount, 0)
    t.same([peer.stop(0), peer.stop(1)], [7, 9])
  })
})

t.test(
  'a memory table that leaves out a running ring is refused, and everything goes on as before',
  async (t) => {
    withPeer(t, (peer) => {
      peer.negotiate().share(LOW).share(HIGH).start(0, HIGH.gpa, 7).start(1, 0, 9)
      const { memory } = peer.session.rings
      t.notOk(giveMemory(peer, Req.SET_MEM_TABLE, memoryTable(LOW), [MIB]))
      t.ok(peer.session.rings.memory === memory)
      t.equal(memory.regionCount, 2)
      t.same(peer.running, [0, 1])
      t.same([peer.stop(0), peer.stop(1)], [7, 9])
    })
  },
)

t.test('a region is added and removed while rings run elsewhere', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share(LOW).start(0, 0, 7)
    peer.share(HIGH)
    t.equal(peer.session.rings.memory.regionCount, 2)
    t.same(peer.running, [0])
    peer.takeEvents()
    t.ok(peer.takes(Req.REM_MEM_REG, oneRegion(HIGH)))
    t.equal(peer.takeEvents()[0], 'drain', 'what is pending there is completed first')
    t.same(peer.running, [0])
    t.equal(peer.stop(0), 7)
  })
})

t.test('the region under a running ring stays; once the ring has stopped it goes', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share(LOW).share(HIGH).start(0, HIGH.gpa, 7).start(1, 0, 9)
    t.notOk(peer.takes(Req.REM_MEM_REG, oneRegion(HIGH)))
    t.equal(peer.session.rings.memory.regionCount, 2)
    t.same(peer.running, [0, 1])
    t.equal(peer.stop(0), 7)
    t.ok(peer.takes(Req.REM_MEM_REG, oneRegion(HIGH)))
    t.same(peer.running, [1])
    t.equal(peer.session.rings.memory.regionCount, 1)
  })
})

t.test('a stopped ring needs no memory until it starts', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share(LOW).start(0)
    peer.stop(0)
    t.ok(peer.takes(Req.REM_MEM_REG, oneRegion(LOW)))
    t.notOk(giveEventfd(peer, Req.SET_VRING_KICK, 0), 'now it cannot start')
    t.same(peer.running, [])
    peer.share(LOW)
    t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 0))
    t.same(peer.running, [0])
  })
})
