import { has, InitFlag } from 'virtio-fs-ts/protocol'
import type { ShareDevice } from './make-fs-device.js'
import type { ShareConfig } from './share-config.js'

/**
 * Returns why a share with these settings always has one thread, or undefined if it may have several. `isAlone`: it has no
 * neighbours on its own thread, which waits for the others.
 */
export function alwaysOneThread({ quota, fileSystem }: ShareConfig, isAlone: boolean): string | undefined {
  if (fileSystem !== undefined) return 'a module serves the share'
  if (quota !== undefined) return 'the share has a quota'
  return isAlone ? undefined : 'the thread of the share has other shares'
}

/** Returns why the options of a share leave its queues to one thread, or undefined if they do not. */
export function oneThreadByOptions(config: ShareConfig): string | undefined {
  const { inspect, trace, posixLocks, flock, exportSupport, rateLimits } = config
  const always = alwaysOneThread(config, true)
  if (always !== undefined) return always
  if (trace !== undefined) return 'requests are traced'
  if (inspect) return 'requests are inspected'
  if (Object.values(rateLimits).some((rate) => rate !== undefined))
    return 'the requests of the guest are limited'
  if (posixLocks || flock) return 'locks are those of the host'
  return exportSupport ? 'the guest may export the share' : undefined
}

/** Returns why one thread has to serve the guest for now, or undefined if several may. */
export function oneThreadNow({ interceptor, session }: ShareDevice): string | undefined {
  const { agreed: agreement } = session
  if (agreement === undefined) return 'the guest has not mounted the share'
  if (interceptor.isTracing) return 'requests are traced'
  if (interceptor.active) return 'requests are inspected or disturbed'
  if (session.gate !== undefined) return 'the requests of the guest are limited'
  if (session.withheld.size > 0) return 'opcodes are withheld'
  if (has(agreement.flags, InitFlag.POSIX_LOCKS)) return 'record locks are those of the host'
  if (has(agreement.flags, InitFlag.FLOCK_LOCKS)) return 'flock locks are those of the host'
  if (has(agreement.flags, InitFlag.EXPORT_SUPPORT)) return 'the guest may export the share'
  return undefined
}
