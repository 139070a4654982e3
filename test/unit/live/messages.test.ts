/** What a helper and the running process tell each other fits into a packet, however many shares there are. */
import t from 'tap'
import { decodeMessage, encodeMessage } from '../../../src/live/messages.js'

const PACKET_BYTES = 128 * 1024

t.test('a message is read as it was written, bigints included', async (t) => {
  for (const count of [0, 1, 1000]) {
    const shares = Array.from({ length: count }, (_, n) => ({
      name: `share-${n}`,
      config: { directory: `/srv/pods/${n}`, on: 2n ** 60n, words: 'x'.repeat(1000) },
    }))
    const message = { id: '1', ok: true as const, result: { shares } }
    const encoded = encodeMessage(message)
    t.same(decodeMessage(encoded), message)
    t.ok(encoded.length < PACKET_BYTES, `${count} shares: ${encoded.length} bytes`)
  }
})

t.test('what is no message is refused', async (t) => {
  for (const text of ['', 'z', 'zAAAA', '{', 'message']) t.throws(() => decodeMessage(text))
})
