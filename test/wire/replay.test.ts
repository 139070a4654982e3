/**
 * Replays the messages of real QEMUs: each request is answered if the recorded back-end answered it, and never refused.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { eventfd, ok } from '../support/device/descriptors.js'
import { viewOf } from '../support/hex.js'
import {
  CONFIG_FEATURES,
  FEATURES,
  PROTOCOL_FEATURES,
  Req,
  type SessionPeer,
  u32s,
  u64,
  withPeer,
} from '../support/rings/session-peer.js'
import { type RecordedRequest, readTranscript } from './transcript.js'

// From dist/test/wire back to the sources.
const TRANSCRIPTS = fileURLToPath(new URL('../../../test/wire/transcripts/', import.meta.url))
const QUEUES = 5
/** Recorded with a back-channel, which a device with a configuration space has. */
const config = new Uint8Array(40)
const OFFERED = PROTOCOL_FEATURES | CONFIG_FEATURES
const VERSION = 1
const NEED_REPLY = 8
/** The most that a front-end may add by ADD_MEM_REG; QEMU itself has 256 at most. */
const MEM_SLOTS = 509n

/** A front-end acknowledges what this back-end offers, not what the recorded one did. */
function payloadFor({ name, payload }: RecordedRequest): Uint8Array {
  if (name === 'SET_FEATURES') return u64(viewOf(payload).getBigUint64(0, true) & FEATURES)
  if (name === 'SET_PROTOCOL_FEATURES') return u64(viewOf(payload).getBigUint64(0, true) & OFFERED)
  return payload
}

function makeFds({ regionBytes, fdCount }: RecordedRequest): number[] {
  const memory = regionBytes.map((sizeBytes) => ok(native.memfdCreate(sizeBytes)))
  return [...memory, ...Array.from({ length: fdCount - memory.length }, eventfd)]
}

/** Returns the reply that a request must have got. */
function expectedAnswer(request: RecordedRequest, bases: Map<number, number>): Uint8Array {
  const index = request.payload.length >= 4 ? viewOf(request.payload).getUint32(0, true) : 0
  switch (request.name) {
    case 'GET_FEATURES':
      return u64(FEATURES)
    case 'GET_PROTOCOL_FEATURES':
      return u64(OFFERED)
    case 'GET_QUEUE_NUM':
      return u64(QUEUES)
    case 'GET_MAX_MEM_SLOTS':
      return u64(MEM_SLOTS)
    case 'GET_VRING_BASE':
      // The rings of the replay are empty, so they stop at the index where they began.
      return u32s(index, bases.get(index) ?? 0)
    default:
      return u64(0)
  }
}

function replay(t: Test, peer: SessionPeer, requests: readonly RecordedRequest[]): void {
  const bases = new Map<number, number>()
  for (const [n, request] of requests.entries()) {
    const fds = makeFds(request)
    const flags = request.needReply ? VERSION | NEED_REPLY : VERSION
    const reply = peer.ask(Req[request.name], payloadFor(request), fds, flags)
    for (const fd of fds) native.close(fd)
    if (request.name === 'SET_VRING_BASE') {
      bases.set(viewOf(request.payload).getUint32(0, true), viewOf(request.payload).getUint32(4, true))
    }
    const expected = request.answered
      ? { request: Req[request.name], payload: expectedAnswer(request, bases) }
      : undefined
    t.same(reply, expected, `${n}: ${request.name}`)
  }
}

for (const file of readdirSync(TRANSCRIPTS).filter((name) => name.endsWith('.txt'))) {
  t.test(file.replace('.txt', ''), async (t) => {
    const requests = readTranscript(join(TRANSCRIPTS, file))
    t.ok(requests.length > 10, `${requests.length} requests`)
    const started = requests.filter(({ name }) => name === 'SET_VRING_KICK').length
    withPeer(
      t,
      (peer) => {
        replay(t, peer, requests)
        const events = peer.takeEvents()
        // A new memory table stops and starts those that run.
        const starts = events.filter((event) => event.startsWith('start')).length
        t.ok(starts >= started, `${starts} starts of ${started} rings`)
        const unknown = events.filter((event) => !/^(start|stop) \d$|^drain$|^reset$/.test(event))
        t.same(unknown, [], 'and nothing was refused')
      },
      { queueCount: QUEUES, config },
    )
  })
}
