/** The configuration space of a session's device, and the back channel that announces its changes. */
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { countOpenFds, eventfd, receiveBytes, socketPair } from '../../support/device/descriptors.js'
import { PROTOCOL_FEATURES, Req, u32s, withPeer } from '../../support/rings/session-peer.js'

const config = Uint8Array.from([1, 2, 3, 4])

t.test('a back channel is kept and replaced', async (t) => {
  withPeer(
    t,
    (peer) => {
      const before = countOpenFds()
      peer.negotiate()
      t.ok(peer.takesFds(Req.SET_BACKEND_REQ_FD, new Uint8Array(0), [eventfd()]))
      t.ok(peer.takesFds(Req.SET_BACKEND_REQ_FD, new Uint8Array(0), [eventfd()]))
      t.equal(countOpenFds(), before + 1)
    },
    { config },
  )
})

t.test('a device without a configuration space has nothing to say on a back channel', async (t) => {
  withPeer(t, (peer) => {
    t.equal(peer.askU64(Req.GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES)
    peer.negotiate()
    t.notOk(peer.takesFds(Req.SET_BACKEND_REQ_FD, new Uint8Array(0), [eventfd()]))
    t.notOk(peer.session.notifyConfigChange())
  })
})

t.test('the front-end is told that the configuration has changed, and reads it anew', async (t) => {
  const bytes = config.slice()
  withPeer(
    t,
    (peer) => {
      const [ours, theirs] = socketPair()
      t.notOk(peer.session.notifyConfigChange(), 'nothing is negotiated')
      peer.negotiate()
      t.notOk(peer.session.notifyConfigChange(), 'nobody listens')
      t.ok(peer.takesFds(Req.SET_BACKEND_REQ_FD, new Uint8Array(0), [theirs]))
      bytes[1] = 7
      t.ok(peer.session.notifyConfigChange())
      t.same(receiveBytes(ours), u32s(2, 1, 0), 'BACKEND_CONFIG_CHANGE_MSG, version 1, no payload')
      const read = peer.ask(Req.GET_CONFIG, Uint8Array.of(...u32s(0, 4, 0), 0, 0, 0, 0))
      t.same(read?.payload.subarray(12), Uint8Array.of(1, 7, 3, 4))
      native.close(ours)
      t.notOk(peer.session.notifyConfigChange(), 'the front-end has closed its end')
    },
    { config: bytes },
  )
})

t.test('the driver writes to the configuration space, where the device takes it', async (t) => {
  const writes: unknown[] = []
  const writeConfig = (offsetBytes: number, bytes: Uint8Array) => {
    writes.push([offsetBytes, ...bytes])
    return offsetBytes > 0
  }
  withPeer(
    t,
    (peer) => {
      peer.negotiate()
      t.ok(peer.takes(Req.SET_CONFIG, Uint8Array.of(...u32s(1, 2, 0), 8, 9)))
      t.notOk(peer.takes(Req.SET_CONFIG, Uint8Array.of(...u32s(0, 1, 0), 5)), 'refused by the device')
      for (const bad of [
        u32s(0, 1, 0),
        u32s(0, 257, 0),
        u32s(250, 8, 0),
        u32s(0, 0xffff_ffff, 0),
        u32s(0, 0),
      ])
        t.notOk(peer.takes(Req.SET_CONFIG, bad))
      t.notOk(peer.takes(Req.SET_CONFIG, Uint8Array.of(...u32s(250, 8, 0), ...new Uint8Array(8))))
      t.same(writes, [
        [1, 8, 9],
        [0, 5],
      ])
    },
    { config, writeConfig },
  )
  withPeer(
    t,
    (peer) => {
      peer.negotiate()
      t.notOk(peer.takes(Req.SET_CONFIG, Uint8Array.of(...u32s(0, 1, 0), 5)), 'read-only without writeConfig')
    },
    { config },
  )
})
