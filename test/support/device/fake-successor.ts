/**
 * Pretends to be the successor of a device, and ends or stops at the step of its first argument: see
 * test/hostile/successors-that-fail.test.ts. The second argument names the file that it writes.
 */
import { readlinkSync, writeFileSync } from 'node:fs'
import { HandedReceiver } from 'vhost-user-ts'
import { messageIn, type SuccessionMessage, sendTo, successionFd } from '../../../src/live/succession.js'
import { threadSockets } from '../../../src/live/successor.js'
import { closeFds, PacketSocket } from '../../../src/sockets/packet-socket.js'

const [, , last, path] = process.argv
const socket = new PacketSocket(successionFd() ?? -1)

/** Ends here, if this is the last step. If it is to hang at the step, writes the file that says so, and never goes on. */
function step(name: string): void {
  if (last === name) process.exit()
  if (last !== `${name}, hanging`) return
  if (path !== undefined) writeFileSync(path, '')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

function receive(): SuccessionMessage {
  const packet = socket.receive()
  if (packet === undefined) process.exit()
  closeFds(packet.fds)
  return messageIn(packet)
}

function copyOf(bytes: Uint8Array | undefined): Uint8Array {
  return Uint8Array.from(bytes ?? [])
}

/** Writes what was received, and what each descriptor is, to two files. */
function record(bytes: Uint8Array, receiver: HandedReceiver): never {
  const kinds: string[] = []
  try {
    for (;;) kinds.push(kindOf(readlinkSync(`/proc/self/fd/${receiver.takeFd()}`)))
  } catch {
    // That was the last one.
  }
  writeFileSync(`${path}.bin`, bytes)
  writeFileSync(`${path}.json`, `${JSON.stringify(kinds)}\n`)
  process.exit()
}

function kindOf(link: string): string {
  if (link.startsWith('/memfd:')) return 'memory'
  return link.startsWith('/') ? 'path' : link.replace(/:.*/, '')
}

step('start')
const offer = receive()
if (offer.op !== 'offer') throw new Error(`${offer.op} in place of an offer`)
step('offer')
if (last === 'refused') sendTo(socket, { op: 'refused', reason: 'it is Sunday' })
if (last === 'too soon') sendTo(socket, { op: 'taken' })
const { shares } = offer.place
const sockets = threadSockets(shares.length)
const others = sockets.map(({ other }) => other)
// It takes no state then, as if it had ended.
if (last === 'refused later') closeFds(sockets.map(({ own }) => own))
if (last === 'other shares') sendTo(socket, { op: 'ready', shares: ['/other'] }, others)
else if (last === 'without sockets') sendTo(socket, { op: 'ready', shares })
else sendTo(socket, { op: 'ready', shares }, others)
if (last === 'refused later') sendTo(socket, { op: 'refused', reason: 'it is Monday' })
closeFds(others)
step('refused later')
step('ready')
for (const { own } of sockets) {
  const receiver = new HandedReceiver(own)
  const pieces = [copyOf(receiver.receive())]
  step('state')
  for (let piece = receiver.receive(); piece !== undefined; piece = receiver.receive())
    pieces.push(copyOf(piece))
  if (last === 'record') record(Buffer.concat(pieces), receiver)
}
step('received')
sendTo(socket, { op: 'taken' })
step('taken')
receive()
step('go')
