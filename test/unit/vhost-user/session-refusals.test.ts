import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { eventfd, ok } from '../../support/device/descriptors.js'
import { MIB, UVA_BASE } from '../../support/rings/guest-ram.js'
import {
  CONFIG_FEATURES,
  FEATURES,
  memoryTable,
  oneRegion,
  PROTOCOL_FEATURES,
  Req,
  ringAddresses,
  type SessionPeer,
  u32s,
  u64,
  withPeer,
} from '../../support/rings/session-peer.js'

const REGION = { gpa: 0, sizeBytes: MIB }

/** A request that is right in every way, for a session that has negotiated and has no memory yet. */
interface Sound {
  readonly payload: Uint8Array
  /** Descriptors it carries. */
  readonly fds?: () => number[]
  /** It has a reply of its own, refused or not, of so many bytes. */
  readonly refusalBytes?: number
}

const none = new Uint8Array(0)
const memfd = () => [ok(native.memfdCreate(MIB))]
const oneEventfd = () => [eventfd()]

const sound: Readonly<Record<string, Sound>> = {
  GET_FEATURES: { payload: none, refusalBytes: 8 },
  SET_FEATURES: { payload: u64(FEATURES) },
  SET_OWNER: { payload: none },
  RESET_OWNER: { payload: none },
  SET_MEM_TABLE: { payload: memoryTable(REGION), fds: memfd },
  SET_VRING_NUM: { payload: u32s(0, 16) },
  SET_VRING_ADDR: { payload: ringAddresses(0, 0) },
  SET_VRING_BASE: { payload: u32s(0, 7) },
  GET_VRING_BASE: { payload: u32s(0, 0), refusalBytes: 8 },
  SET_VRING_KICK: { payload: u64(0), fds: oneEventfd },
  SET_VRING_CALL: { payload: u64(0), fds: oneEventfd },
  SET_VRING_ERR: { payload: u64(0), fds: oneEventfd },
  GET_PROTOCOL_FEATURES: { payload: none, refusalBytes: 8 },
  SET_PROTOCOL_FEATURES: { payload: u64(PROTOCOL_FEATURES) },
  GET_QUEUE_NUM: { payload: none, refusalBytes: 8 },
  SET_VRING_ENABLE: { payload: u32s(0, 1) },
  SET_BACKEND_REQ_FD: { payload: none, fds: oneEventfd },
  GET_CONFIG: { payload: Uint8Array.from([...u32s(0, 8, 0), ...new Uint8Array(8)]), refusalBytes: 0 },
  RESET_DEVICE: { payload: none },
  GET_MAX_MEM_SLOTS: { payload: none, refusalBytes: 8 },
  ADD_MEM_REG: { payload: oneRegion(REGION), fds: memfd },
}

const config = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])

/** Checks that a request is refused: a nack if it was asked for, a reply of zeros where there is always one. */
function checkRefused(
  t: Test,
  peer: SessionPeer,
  request: number,
  payload: Uint8Array,
  fds: readonly number[],
  { refusalBytes }: Sound,
  name: string,
): void {
  for (const flags of [9, 1]) {
    const reply = peer.ask(request, payload, fds, flags)
    if (refusalBytes !== undefined) t.same(reply, { request, payload: new Uint8Array(refusalBytes) }, name)
    else if (flags === 9) t.same(reply, { request, payload: u64(1) }, `${name}: nack`)
    else t.equal(reply, undefined, `${name}: silence`)
  }
  t.notOk(peer.connection.closed, `${name}: the connection lives on`)
}

for (const [name, request] of Object.entries(Req)) {
  const right = sound[name]
  if (right === undefined) continue
  const { payload, fds = () => [] } = right

  t.test(`${name} is taken as it should be`, async (t) => {
    withPeer(
      t,
      (peer) => {
        peer.negotiate()
        const mine = fds()
        const reply = peer.ask(request, payload, mine, 9)
        t.equal(reply?.request, request)
        if (right.refusalBytes === undefined) t.same(reply?.payload, u64(0), 'acknowledged')
        else t.ok(reply?.payload.some((byte) => byte !== 0) || name === 'GET_VRING_BASE', 'answered')
        for (const fd of mine) native.close(fd)
      },
      { config },
    )
  })

  t.test(`${name} with a payload or descriptors of the wrong length is refused`, async (t) => {
    withPeer(
      t,
      (peer) => {
        peer.negotiate()
        const mine = fds()
        const extra = eventfd()
        if (payload.length > 0)
          checkRefused(t, peer, request, payload.subarray(0, -1), mine, right, 'one byte short')
        if (payload.length > 0) checkRefused(t, peer, request, none, mine, right, 'no payload')
        checkRefused(t, peer, request, Uint8Array.of(...payload, 0), mine, right, 'one byte too many')
        checkRefused(t, peer, request, payload, [...mine, extra], right, 'one descriptor too many')
        if (mine.length > 0) checkRefused(t, peer, request, payload, [], right, 'no descriptor')
        t.same(peer.running, [])
        t.equal(peer.session.rings.memory.regionCount, 0)
        for (const fd of [...mine, extra]) native.close(fd)
      },
      { config },
    )
  })
}

t.test(
  'every request of the specification that is not offered, and every unknown one, is refused',
  async (t) => {
    const known: readonly number[] = Object.values(Req)
    withPeer(t, (peer) => {
      peer.negotiate()
      for (let request = 0; request <= 64; request++) {
        if (known.includes(request)) continue
        t.equal(peer.askU64(request, u64(0), [], 9), 1n, `request ${request}`)
        t.equal(peer.ask(request, u64(0), [], 1), undefined)
      }
      for (const request of [0xffff, 0x8000_0000, 0xffff_ffff]) t.notOk(peer.takes(request, none))
      t.notOk(peer.takes(Req.SET_CONFIG, u32s(0, 4, 0, 0)), 'the configuration space is not written')
      t.notOk(peer.connection.closed)
    })
  },
)

t.test('a descriptor with a request that is unknown is closed', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    // SET_LOG_BASE, SET_INFLIGHT_FD, SET_DEVICE_STATE_FD.
    for (const request of [6, 32, 42]) t.notOk(peer.takesEventfd(request, new Uint8Array(16)))
  })
})

t.test('before REPLY_ACK is negotiated nothing is acknowledged, refused or not', async (t) => {
  withPeer(t, (peer) => {
    t.equal(peer.ask(Req.SET_OWNER, none, [], 9), undefined)
    t.equal(peer.ask(Req.SET_FEATURES, u64(1n << 63n), [], 9), undefined)
    t.equal(peer.askU64(Req.GET_FEATURES), FEATURES, 'what has a reply of its own is answered')
  })
})

t.test('features that were not offered are refused, and the old ones stay', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    const packed = 1n << 34n
    const logAll = 1n << 26n
    for (const bit of [packed, logAll, 1n << 33n, 1n << 63n, 1n]) {
      t.notOk(peer.takes(Req.SET_FEATURES, u64(FEATURES | bit)), `${bit}`)
    }
    t.ok(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)), 'PROTOCOL_FEATURES is still on')
    const [shmfd, status, deviceState, inflight, config] = [
      1n << 1n,
      1n << 16n,
      1n << 19n,
      1n << 12n,
      1n << 9n,
    ]
    for (const bit of [shmfd, status, deviceState, inflight, config]) {
      t.notOk(peer.takes(Req.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURES | bit)), `${bit}`)
    }
    t.ok(peer.takes(Req.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURES)), 'REPLY_ACK is still on')
  })
})

t.test('a queue that does not exist is refused in every request that names one', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share()
    for (const index of [2, 255, 0xffff_ffff]) {
      t.notOk(peer.takes(Req.SET_VRING_NUM, u32s(index, 16)))
      t.notOk(peer.takes(Req.SET_VRING_BASE, u32s(index, 0)))
      t.notOk(peer.takes(Req.SET_VRING_ADDR, ringAddresses(index, 0)))
      t.notOk(peer.takes(Req.SET_VRING_ENABLE, u32s(index, 1)))
      t.same(peer.ask(Req.GET_VRING_BASE, u32s(index, 0))?.payload, new Uint8Array(8))
    }
    for (const request of [Req.SET_VRING_KICK, Req.SET_VRING_CALL, Req.SET_VRING_ERR]) {
      t.notOk(peer.takesEventfd(request, u64(2)))
      t.notOk(peer.takesEventfd(request, u64(255)))
    }
    t.same(peer.running, [])
  })
})

t.test('a descriptor beside "no descriptor", or its absence without, is refused', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    for (const request of [Req.SET_VRING_KICK, Req.SET_VRING_CALL, Req.SET_VRING_ERR]) {
      t.notOk(peer.takesEventfd(request, u64(0x100)))
      t.notOk(peer.takes(request, u64(0)))
      t.ok(peer.takes(request, u64(0x100)))
    }
  })
})

t.test('queue sizes are powers of two up to the device’s limit', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    for (const size of [0, 3, 127, 129, 1023, 2048, 32768, 65536, 0x8000_0000, 0xffff_ffff]) {
      t.notOk(peer.takes(Req.SET_VRING_NUM, u32s(0, size)), `${size}`)
    }
    for (const size of [1, 2, 128, 1024]) t.ok(peer.takes(Req.SET_VRING_NUM, u32s(0, size)), `${size}`)
  })
  withPeer(
    t,
    (peer) => {
      peer.negotiate()
      t.ok(peer.takes(Req.SET_VRING_NUM, u32s(0, 64)))
      t.notOk(peer.takes(Req.SET_VRING_NUM, u32s(0, 128)))
    },
    { maxQueueSize: 64 },
  )
})

t.test('a ring index is at most 65535, and an enable 0 or 1', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    t.ok(peer.takes(Req.SET_VRING_BASE, u32s(0, 65535)))
    for (const base of [65536, 2147516416, 0xffff_ffff])
      t.notOk(peer.takes(Req.SET_VRING_BASE, u32s(0, base)))
    for (const num of [2, 0xffff_ffff]) t.notOk(peer.takes(Req.SET_VRING_ENABLE, u32s(0, num)))
  })
})

t.test('dirty logging of a ring is refused', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate().share()
    t.notOk(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 1)))
    t.notOk(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 2)))
  })
})

t.test('memory slots and enabling need the features that they belong to', async (t) => {
  withPeer(t, (peer) => {
    const slots = 1n << 15n
    peer.ask(Req.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURES & ~slots))
    t.notOk(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)), 'before SET_FEATURES')
    t.ok(peer.takes(Req.SET_FEATURES, u64(FEATURES & ~(1n << 30n))))
    t.notOk(peer.takes(Req.SET_VRING_ENABLE, u32s(0, 1)), 'without PROTOCOL_FEATURES')
    t.notOk(peer.takesFds(Req.ADD_MEM_REG, oneRegion(REGION), memfd()))
    t.notOk(peer.takes(Req.REM_MEM_REG, oneRegion(REGION)))
    t.ok(peer.takesFds(Req.SET_MEM_TABLE, memoryTable(REGION), memfd()))
  })
})

t.test('a memory table has 1 to 8 regions, one descriptor each', async (t) => {
  const regions = Array.from({ length: 9 }, (_, n) => ({ gpa: n * MIB, sizeBytes: MIB }))
  withPeer(t, (peer) => {
    peer.negotiate()
    t.ok(
      peer.takesFds(
        Req.SET_MEM_TABLE,
        memoryTable(...regions.slice(0, 8)),
        regions.slice(0, 8).flatMap(memfd),
      ),
    )
    t.equal(peer.session.rings.memory.regionCount, 8)
    t.notOk(peer.takesFds(Req.SET_MEM_TABLE, memoryTable(...regions), regions.flatMap(memfd)))
    t.notOk(peer.takes(Req.SET_MEM_TABLE, memoryTable()))
    t.notOk(peer.takes(Req.SET_MEM_TABLE, u32s(0x0800_0001, 0)))
    t.notOk(peer.takesFds(Req.SET_MEM_TABLE, memoryTable(...regions.slice(0, 2)), memfd()))
    t.notOk(
      peer.takesFds(Req.SET_MEM_TABLE, memoryTable(regions[0], regions[0]), [...memfd(), ...memfd()]),
      'overlap',
    )
    t.notOk(
      peer.takesFds(Req.SET_MEM_TABLE, memoryTable({ gpa: 0, sizeBytes: 2 * MIB }), memfd()),
      'short file',
    )
    t.equal(peer.session.rings.memory.regionCount, 8, 'the memory before is still there')
  })
})

t.test('509 memory slots are taken, one more is refused', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    const [fd] = memfd()
    const slot = (n: number) => oneRegion({ gpa: n * 8192, sizeBytes: 4096 })
    for (let n = 0; n < 509; n++)
      if (!peer.takes(Req.ADD_MEM_REG, slot(n), [fd])) throw new Error(`slot ${n}`)
    t.notOk(peer.takes(Req.ADD_MEM_REG, slot(509), [fd]))
    t.ok(peer.takes(Req.REM_MEM_REG, slot(7)))
    t.ok(peer.takes(Req.ADD_MEM_REG, slot(509), [fd]), 'a slot given back is free again')
    native.close(fd)
  })
})

t.test('REM_MEM_REG takes the descriptor that older front-ends attach, not two, and closes it', async (t) => {
  withPeer(t, (peer) => {
    peer.negotiate()
    for (const fds of [[], memfd()]) {
      peer.share()
      t.ok(peer.takesFds(Req.REM_MEM_REG, oneRegion(REGION), fds))
    }
    peer.share()
    t.notOk(peer.takesFds(Req.REM_MEM_REG, oneRegion(REGION), [...memfd(), ...memfd()]))
    t.notOk(peer.takes(Req.REM_MEM_REG, oneRegion(REGION).subarray(0, 39)))
    t.notOk(peer.takes(Req.REM_MEM_REG, oneRegion({ gpa: MIB, sizeBytes: MIB })), 'not there')
    t.notOk(peer.takes(Req.REM_MEM_REG, oneRegion({ ...REGION, sizeBytes: 4096 })), 'another size')
    t.equal(peer.session.rings.memory.regionCount, 1)
  })
})

t.test('the configuration space is read within 256 bytes, and is zero behind its end', async (t) => {
  withPeer(
    t,
    (peer) => {
      const ask = (offset: number, size: number) =>
        peer.ask(
          Req.GET_CONFIG,
          Uint8Array.of(...u32s(offset, size, 0), ...new Uint8Array(Math.min(size, 300))),
        )
      t.same(ask(0, 8)?.payload, Uint8Array.of(...u32s(0, 8, 0), ...config))
      t.same(ask(6, 4)?.payload, Uint8Array.of(...u32s(6, 4, 0), 7, 8, 0, 0))
      t.equal(ask(0, 256)?.payload.length, 268)
      for (const [offset, size] of [
        [0, 257],
        [256, 1],
        [0xffff_ffff, 1],
        [1, 256],
        [0, 0xffff_ffff],
      ]) {
        t.same(ask(offset, size)?.payload, none, `${size} bytes at ${offset}: a payload of 0 bytes says no`)
      }
    },
    { config },
  )
})

t.test('without a configuration space CONFIG is not offered and GET_CONFIG is refused', async (t) => {
  withPeer(t, (peer) => {
    t.equal(peer.askU64(Req.GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES)
    t.same(peer.ask(Req.GET_CONFIG, new Uint8Array(16))?.payload, none)
  })
  withPeer(
    t,
    (peer) => t.equal(peer.askU64(Req.GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES | CONFIG_FEATURES),
    {
      config,
    },
  )
})

t.test('the features of the device class are offered beside those of the transport', async (t) => {
  withPeer(
    t,
    (peer) => {
      t.equal(peer.askU64(Req.GET_FEATURES), FEATURES | 5n)
      peer.negotiate(FEATURES | 4n)
    },
    { features: 5n },
  )
})
