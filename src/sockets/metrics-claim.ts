import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { type MetricsAddress, metricsWords } from '../config/metrics-address.js'
import { UserError } from '../config/user-error.js'
import { claimSocket, type SocketClaim } from './socket-claim.js'

/** Listens for clients that ask for metrics. Throws UserError. */
export function claimMetrics(address: MetricsAddress): SocketClaim {
  if ('path' in address) return claimSocket(address.path, '--metrics')
  const listenFd = native.tcpListen(address.host, address.port)
  if (listenFd < 0)
    throw new UserError(`--metrics ${metricsWords(address)}: cannot listen there (${errnoName(-listenFd)})`)
  return { listenFd, lockFd: undefined, files: [], release: () => {} }
}
