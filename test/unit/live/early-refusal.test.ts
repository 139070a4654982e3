/** A successor may have refused, and ended, before it is asked. */
import t from 'tap'
import { Predecessor } from '../../../src/live/predecessor.js'
import type { RunningShares } from '../../../src/live/running-shares.js'
import { type SuccessionMessage, sendTo } from '../../../src/live/succession.js'
import { makeLogger } from '../../../src/log/log.js'
import { packetPair } from '../../../src/sockets/packet-pair.js'
import { PacketSocket } from '../../../src/sockets/packet-socket.js'

const estate = {
  place: { shares: [], control: null, metrics: null, sandbox: 'none' },
  sockets: { controlFd: undefined, metricsFd: undefined },
  mountsFd: undefined,
  counted: [],
}

/** Hands over to a process that has said this and is gone. */
async function handOverTo(...said: readonly SuccessionMessage[]): Promise<void> {
  const { log } = makeLogger('off', undefined, () => 0)
  const predecessor = new Predecessor({ serving: [] } as unknown as RunningShares, () => estate, log)
  const { own, other } = packetPair()
  const successor = new PacketSocket(own)
  for (const message of said) sendTo(successor, message)
  successor.close()
  await predecessor.handOver(other)
}

t.test('its reason counts, not that it is gone', async (t) => {
  await t.rejects(handOverTo({ op: 'refused', reason: 'because' }), { message: 'because' })
  await t.rejects(handOverTo(), { message: 'the new process ended before it was ready' })
})
