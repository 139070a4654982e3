import { setTimeout as sleep } from 'node:timers/promises'
import type { Qmp } from './qmp.js'

const POLL_MS = 20
/** A slow machine has to finish all the same: no pass over memory counts as too long for the last one. */
const DOWNTIME_LIMIT_MS = 10_000
const BANDWIDTH_BYTES = 2 ** 33

/** The answer of query-migrate, as far as it is used here. */
interface MigrationStatus {
  readonly status: string
  readonly downtime?: number
  readonly 'error-desc'?: string
}

/**
 * Migrates the guest of a QEMU to `uri`, such as `unix:PATH` or `file:PATH`. Resolves to the milliseconds between stop and
 * go. Rejects with QEMU's reason.
 */
export async function moveGuest(
  qmp: Qmp,
  uri: string,
  bandwidthBytes: number = BANDWIDTH_BYTES,
): Promise<number> {
  // Without an answer from the other side, all that was sent counts as arrived.
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'return-path', state: uri.startsWith('unix:') }],
  })
  await qmp.execute('migrate-set-parameters', {
    'downtime-limit': DOWNTIME_LIMIT_MS,
    'max-bandwidth': bandwidthBytes,
  })
  await qmp.execute('migrate', { uri })
  for (;;) {
    // QMP describes this answer in its schema, and both versions of QEMU have these members.
    const info = (await qmp.execute('query-migrate')) as MigrationStatus
    if (info.status === 'completed') return info.downtime ?? 0
    if (info.status === 'failed' || info.status === 'cancelled')
      throw new Error(`migration ${info.status}: ${info['error-desc'] ?? 'QEMU gives no reason'}`)
    await sleep(POLL_MS)
  }
}

/** Resolves once the guest of a QEMU runs. */
export async function waitUntilRunning(qmp: Qmp): Promise<void> {
  for (;;) {
    const { running } = (await qmp.execute('query-status')) as { running: boolean }
    if (running) return
    await sleep(POLL_MS)
  }
}
