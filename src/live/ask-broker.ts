import type { PacketSocket } from '../sockets/packet-socket.js'

/** Sends a helper's request to the broker. Returns the descriptors of its answer, or undefined if the broker refuses. */
export function askBroker(
  broker: PacketSocket,
  request: string,
  fds: readonly number[] = [],
): readonly number[] | undefined {
  broker.send(request, fds)
  const answer = broker.receive()
  return answer?.text === '\0' ? answer.fds : undefined
}
