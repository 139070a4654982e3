import * as native from 'virtiofsd-ts-native'

/**
 * Connects a non-blocking datagram socket to a socket file such as the system log's. Returns the descriptor, which a
 * process in a sandbox can inherit, or undefined if nobody listens there.
 */
export function connectDatagram(path: string): number | undefined {
  const fd = native.unixDatagramConnect(path)
  return fd < 0 ? undefined : fd
}
