import * as native from 'virtiofsd-ts-native'

/**
 * Connects a datagram socket, in non-blocking mode, to a socket file such as the system log's. Returns the descriptor, which
 * a process in a sandbox inherits, or undefined when nobody takes messages there.
 */
export function connectDatagram(path: string): number | undefined {
  const fd = native.unixDatagramConnect(path)
  return fd < 0 ? undefined : fd
}
