/** The state of a session: its rings, and what its front-end has negotiated. */
import { openSync } from 'node:fs'
import t from 'tap'
import { AsyncBackend, Backend, ProtocolError } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { checkNoFdLeak, countOpenFds, eventfd, ok, takeSignal } from '../../support/device/descriptors.js'
import { MIB, UVA_BASE } from '../../support/rings/guest-ram.js'
import {
  FEATURES,
  Req,
  ringAddresses,
  type SessionPeer,
  u32s,
  u64,
  withPeer,
} from '../../support/rings/session-peer.js'

const LOW = { gpa: 0, sizeBytes: MIB }
const HIGH = { gpa: 8 * MIB, sizeBytes: MIB }

/** Hands a descriptor over and keeps none. */
const giveEventfd = (peer: SessionPeer, request: number, index: number) =>
  peer.takesEventfd(request, u64(index))

t.test('a ring starts when the last piece is there, kick or enable', async (t) => {
  for (const last of ['kick', 'enable']) {
    withPeer(t, (peer) => {
      peer.negotiate().share()
      peer.takes(Req.SET_VRING_NUM, u32s(1, 16))
      peer.takes(Req.SET_VRING_BASE, u32s(1, 0))
      peer.takes(Req.SET_VRING_ADDR, ringAddresses(1, 0))
      t.same(peer.running, [])
      if (last === 'kick') {
        t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(1, 1)))
        t.same(peer.running, [])
        t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 1))
      } else {
        t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 1))
        t.same(peer.running, [])
        t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(1, 1)))
      }
      t.same(peer.running, [1])
      t.same(peer.takeEvents(), ['start 1'])
    })
  }
})

t.test('without PROTOCOL_FEATURES rings are enabled from the start', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate(FEATURES & ~(1n << 30n)).share()
    peer.takes(Req.SET_VRING_NUM, u32s(0, 16))
    peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0))
    t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 0))
    t.same(peer.running, [0])
  })
})

t.test('disabling stops a ring and keeps its place; enabling goes on from there', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0, 0, 40)
    t.same(peer.takeEvents(), ['start 0'])
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 0)))
    t.same(peer.takeEvents(), ['drain', 'stop 0'], 'what is pending is completed first')
    t.same(peer.running, [])
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)))
    t.equal(peer.session.rings.vrings[0].queue?.lastAvail, 40)
  })
})

t.test('enabling twice and disabling twice do nothing the second time', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0)
    peer.takeEvents()
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)))
    t.same(peer.takeEvents(), [])
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 0)))
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 0)))
    t.same(peer.takeEvents(), ['drain', 'stop 0'])
  })
})

t.test('GET_VRING_BASE stops a ring, says where, and forgets its kick', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(1, 0, 33)
    const before = countOpenFds()
    t.same(peer.ask(Req.GET_VRING_BASE, u32s(1, 0))?.payload, u32s(1, 33))
    t.equal(countOpenFds(), before - 1)
    t.same(peer.running, [])
    t.equal(peer.stop(1), 33, 'asked again')
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(1, 1)))
    t.same(peer.running, [], 'no kick, no start')
    t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 1))
    t.same(peer.running, [1])
    t.equal(peer.session.rings.vrings[1].queue?.lastAvail, 33)
  })
})

t.test('size and index of a running ring stay as they are', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0, 0, 5)
    t.notOk(peer.takes(Req.SET_VRING_NUM, u32s(0, 32)))
    t.notOk(peer.takes(Req.SET_VRING_BASE, u32s(0, 6)))
    t.equal(peer.stop(0), 5)
  })
})

t.test('new addresses for a running ring move it and keep its indices', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0, 0, 5)
    peer.takeEvents()
    t.ok(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0x10000)))
    t.same(peer.takeEvents(), ['drain', 'stop 0', 'start 0'])
    t.equal(peer.session.rings.vrings[0].queue?.layout.descGpa, 0x10000)
    t.equal(peer.session.rings.vrings[0].queue?.lastAvail, 5)
  })
})

t.test('addresses outside guest memory are refused, and a running ring goes on where it was', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0, 0x10000, 5)
    const outside = [ringAddresses(0, MIB), ringAddresses(0, 0, UVA_BASE - MIB), ringAddresses(0, 8)]
    const beyond = ringAddresses(0, 0)
    beyond.fill(0xff, 8, 16)
    for (const payload of [...outside, beyond]) {
      t.notOk(peer.takes(Req.SET_VRING_ADDR, payload))
      t.same(peer.running, [0])
      t.equal(peer.session.rings.vrings[0].queue?.layout.descGpa, 0x10000)
      t.equal(peer.session.rings.vrings[0].queue?.lastAvail, 5)
    }
  })
})

t.test('a ring whose addresses are outside guest memory cannot be enabled, and stays disabled', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share()
    peer.takes(Req.SET_VRING_NUM, u32s(0, 16))
    peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, MIB))
    giveEventfd(peer, Req.SET_VRING_KICK, 0)
    t.notOk(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)))
    t.notOk(peer.session.rings.vrings[0].enabled)
    t.ok(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0)))
    t.same(peer.running, [])
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)))
    t.same(peer.running, [0])
  })
})

t.test('a kick that cannot be waited for is refused, and the ring goes on with the one before', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0, 0, 5)
    const { kickFd } = peer.session.rings.vrings[0]
    const before = countOpenFds()
    peer.startError = new ProtocolError('BAD_FDS', 'the kick descriptor cannot be waited for')
    const file = openSync('/proc/self/exe', 'r')
    t.notOk(peer.takesFds(Req.SET_VRING_KICK, u64(0), [file]))
    t.equal(countOpenFds(), before)
    t.equal(peer.session.rings.vrings[0].kickFd, kickFd)
    t.same(peer.running, [0])
    t.equal(peer.stop(0), 5)
  })
})

t.test('a new kick replaces the one before', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share().start(0)
    const before = countOpenFds()
    peer.takeEvents()
    t.ok(giveEventfd(peer, Req.SET_VRING_KICK, 0))
    t.same(peer.takeEvents(), ['drain', 'stop 0', 'start 0'])
    t.equal(countOpenFds(), before)
    t.ok(peer.takes(Req.SET_VRING_KICK, u64(0x100)))
    t.same(peer.running, [], 'no descriptor: nothing to wait for')
    t.equal(countOpenFds(), before - 1)
  })
})

t.test('call and error descriptors are kept, replaced and given up', async (t) => {
  for (const request of [Req.SET_VRING_CALL, Req.SET_VRING_ERR]) {
    withPeer(t, (peer) => {
      peer.negotiate()
      const before = countOpenFds()
      giveEventfd(peer, request, 0)
      giveEventfd(peer, request, 0)
      giveEventfd(peer, request, 1)
      t.equal(countOpenFds(), before + 2)
      peer.takes(request, u64(0x100))
      t.equal(countOpenFds(), before + 1)
      peer.takes(Req.RESET_DEVICE)
      t.equal(countOpenFds(), before + 1, 'RESET_DEVICE keeps them')
    })
  }
})

t.test('the call descriptor signals, blocking or not, and never blocks', async (t) => {
  for (const flags of [0, native.constants.EFD_NONBLOCK]) {
    withPeer(t, (peer) => {
      peer.negotiate()
      const fd = ok(native.eventfdCreate(flags))
      t.ok(peer.takes(Req.SET_VRING_CALL, u64(0), [fd]))
      const [vring] = peer.session.rings.vrings
      vring.signal(0)
      native.setStatusFlags(fd, native.constants.O_NONBLOCK)
      const full = native.dup(fd)
      t.equal(native.eventfdDrain(fd), 1)
      native.close(full)
      native.close(fd)
    })
  }
})

t.test('a descriptor for calls that replaces one of a running ring is signalled once', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share()
    const fd = eventfd()
    const isSignalled = () => takeSignal(fd)
    t.ok(peer.takes(Req.SET_VRING_CALL, u64(0), [fd]))
    t.equal(isSignalled(), false, 'the ring does not run')
    peer.start(0)
    t.equal(isSignalled(), false, 'nothing has changed')
    t.ok(peer.takes(Req.SET_VRING_CALL, u64(0), [fd]))
    t.equal(isSignalled(), true, 'nobody may have read the last signal by the descriptor before')
    peer.stop(0)
    t.ok(peer.takes(Req.SET_VRING_CALL, u64(0), [fd]))
    t.equal(isSignalled(), false, 'the ring does not run any more')
    native.close(fd)
  })
})

t.test('RESET_DEVICE clears rings and device; memory, features and descriptors for calls stay', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share(LOW).share(HIGH).start(0, 0, 7).start(1, 0x10000, 9)
    peer.takeEvents()
    t.ok(peer.takes(Req.RESET_DEVICE))
    t.same(peer.takeEvents(), ['drain', 'stop 0', 'drain', 'stop 1', 'reset'])
    t.same(peer.running, [])
    t.equal(peer.session.rings.memory.regionCount, 2)
    t.equal(peer.stop(0), 0, 'indices begin anew')
    t.ok(peer.takes(Req.RESET_DEVICE), 'again, as QEMU does')
    peer.start(0).start(1, 0x10000)
    t.same(peer.running, [0, 1], 'no memory and no features had to be sent again')
  })
})

t.test('the device hears which features the driver has acknowledged', async (t) => {
  const heard: bigint[] = []
  withPeer(
    t,
    (peer) => {
      t.equal(peer.askU64(Req.GET_FEATURES), FEATURES | 0x60n)
      peer.negotiate(FEATURES | 0x20n)
      t.same(heard, [FEATURES | 0x20n])
      t.notOk(peer.takes(Req.SET_FEATURES, u64(FEATURES | 0x80n)), 'not offered')
      t.equal(heard.length, 1)
    },
    { features: 0x60n, acceptFeatures: (features) => heard.push(features) },
  )
})

t.test('a device that does not fit the protocol is refused', async (t) => {
  const device = { name: 'odd', queueCount: 1, process: () => 0 }
  for (const [odd, says] of [
    [{ queueCount: 0 }, 'odd: 0 queues, not 1 to 256'],
    [{ queueCount: 257 }, 'odd: 257 queues, not 1 to 256'],
    [{ queueCount: 1.5 }, 'odd: 1.5 queues, not 1 to 256'],
    [{ maxQueueSize: 3 }, 'odd: queue size 3 is not a power of two up to 32768'],
    [{ maxQueueSize: 65_536 }, 'odd: queue size 65536 is not a power of two up to 32768'],
    [{ config: new Uint8Array(257) }, 'odd: 257 bytes of configuration, more than 256'],
    [{ features: 1n << 32n }, 'odd: features 0x100000000 are not a device class’s'],
  ] as const) {
    t.throws(() => new Backend({ ...device, ...odd }), new RangeError(says))
    t.throws(() => new AsyncBackend({ ...device, ...odd }), new RangeError(says))
  }
  checkNoFdLeak(t, () => {
    const backend = new AsyncBackend({ ...device, queueCount: 256, features: 0x60n })
    backend.close()
  })
})

t.test(
  'closing a session in the middle of everything stops its rings and gives everything back',
  async (t) => {
    withPeer(t, (peer) => {
      peer.negotiate().share(LOW).share(HIGH).start(0).start(1, HIGH.gpa)
      giveEventfd(peer, Req.SET_VRING_CALL, 0)
      giveEventfd(peer, Req.SET_VRING_ERR, 1)
      peer.takeEvents()
      peer.session.close()
      t.same(peer.takeEvents(), ['drain', 'stop 0', 'drain', 'stop 1', 'reset'])
      t.equal(peer.session.rings.memory.regionCount, 0)
      peer.session.close = () => {}
    })
  },
)

t.test('a bug of ours is thrown, not refused', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share()
    peer.startError = new TypeError('a bug')
    t.throws(() => peer.start(0), { message: 'a bug' })
  })
})

t.test('an answer that the peer does not read ends the connection, not the process', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    for (let n = 0; n < 100_000 && !peer.connection.closed; n++) {
      peer.session.handle({
        request: Req.GET_FEATURES,
        flags: 1,
        payloadBytes: 0,
        payload: new DataView(new ArrayBuffer(8)),
        fds: [],
      })
    }
    t.ok(peer.connection.closed)
  })
})
