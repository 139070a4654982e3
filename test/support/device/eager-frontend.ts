import { Frontend, type FrontendOptions } from 'vhost-user-ts/frontend'
import { sleep } from './device.js'

const POLL_MS = 10

/** Connects as soon as a process listens at `socketPath`. After `timeoutMs`, throws the last error of connecting. */
export async function connectSoon(
  socketPath: string,
  timeoutMs = 10_000,
  options: FrontendOptions = {},
): Promise<Frontend> {
  for (const endMs = performance.now() + timeoutMs; ; ) {
    try {
      return new Frontend(socketPath, options)
    } catch (error) {
      if (performance.now() > endMs) throw error
      await sleep(POLL_MS)
    }
  }
}
