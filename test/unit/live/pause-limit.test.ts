/** How long a process may take to hand over: more for many inodes, so that a busy host does not keep them from it. */
import t from 'tap'
import { Predecessor } from '../../../src/live/predecessor.js'
import type { RunningShares } from '../../../src/live/running-shares.js'
import { type SuccessionMessage, sendTo } from '../../../src/live/succession.js'
import { makeLogger } from '../../../src/log/log.js'
import type { HandOver } from '../../../src/share/worker-messages.js'
import { packetPair } from '../../../src/sockets/packet-pair.js'
import { closeFds, PacketSocket } from '../../../src/sockets/packet-socket.js'

const KEYS = ['/first', '/second']

/** Hands shares over whose guests know so many inodes. Returns the limits that their threads are given. */
async function limitsFor(...inodes: readonly number[]): Promise<readonly number[]> {
  const limits: number[] = []
  const serving = inodes.map((count, n) => ({
    config: { socketPath: KEYS[n] },
    client: {
      ask: async (_name: 'figures' | 'hand-over', argument: HandOver | undefined) => {
        if (argument === undefined) return { use: { inodes: count } }
        limits.push(argument.limitMs)
        closeFds([argument.fd])
        return {}
      },
    },
  }))
  const estate = {
    place: { shares: KEYS, control: null, metrics: null, sandbox: 'none' },
    sockets: { controlFd: undefined, metricsFd: undefined },
    mountsFd: undefined,
    counted: [],
  }
  const { log } = makeLogger('off', undefined, () => 0)
  // The parts that a hand-over uses.
  const predecessor = new Predecessor({ serving } as unknown as RunningShares, () => estate, log)
  const { own, other } = packetPair()
  const successor = new PacketSocket(own)
  const threads = inodes.map(() => packetPair())
  const others = threads.map((pair) => pair.other)
  const handed = predecessor.handOver(other)
  successor.receive()
  sendTo(successor, { op: 'ready', shares: KEYS.slice(0, inodes.length) }, others)
  for (const op of ['taken', 'begun'] as const) sendTo(successor, { op } satisfies SuccessionMessage)
  await handed
  closeFds([...others, ...threads.map((pair) => pair.own)])
  return limits
}

t.test('the limit grows with the inodes of all shares, to an end', async (t) => {
  const within = (limits: readonly number[], most: number) => {
    // The time since the limit was set is less than a second.
    for (const limit of limits) t.ok(limit <= most && limit > most - 1000, `${limit} of ${most} ms`)
  }
  within(await limitsFor(0), 5000)
  within(await limitsFor(1_000_000), 15_000)
  within(await limitsFor(300_000, 200_000), 10_000)
  within(await limitsFor(10_000_000), 20_000)
})
