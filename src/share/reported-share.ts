import type { AsyncBackend, Backend } from 'vhost-user-ts'
import { type InitAgreement, initFlagNames, opcodeName } from 'virtio-fs-ts/protocol'
import type { MemoryReport } from '../passthrough/memory-account.js'
import { describeInitOverride } from './init-override.js'
import type { ShareDevice } from './make-fs-device.js'
import { alwaysOneThread } from './one-thread-reasons.js'
import type { QueueThreads, QueueThreadsReport } from './queue-threads.js'
import type { ShareConfig } from './share-config.js'
import type { ShareFigures } from './share-figures.js'
import type { ShareTrace } from './share-trace.js'

/** A share that is served, as its reports see it. */
export interface ReportedShare {
  readonly share: ShareDevice
  readonly trace: ShareTrace
  readonly backend: Backend | AsyncBackend | undefined
  readonly queueThreads: QueueThreads | undefined
  /** What the guest that has mounted it has agreed on. */
  readonly agreement: InitAgreement | undefined
  /** A front-end is connected. */
  readonly connected: boolean
  readonly config: ShareConfig
  /** It has its thread to itself. */
  readonly isAlone: boolean
}

/** The answer of `ctl state` for one share. */
export function stateOf(reported: ReportedShare): object {
  const { agreement, connected, queueThreads } = reported
  const { interceptor, session } = reported.share
  return {
    connected,
    mounted: agreement !== undefined,
    guest: agreement && `7.${agreement.guestMinor}`,
    flags: agreement && initFlagNames(agreement.flags),
    pendingRequests: session.pendingCount,
    memory: memoryOf(reported),
    queueThreads: queueThreads?.report() ?? oneThread(reported),
    inspecting: interceptor.isInspecting,
    tracing: interceptor.isTracing,
    faults: interceptor.faultReports().length,
    withheld: Object.fromEntries(
      [...session.withheld].map(([opcode, answers]) => [opcodeName(opcode), answers]),
    ),
    nextInit: describeInitOverride(session.initOverride),
  }
}

/** What metrics say of one share. */
export function figuresOf({
  share,
  backend,
  queueThreads,
  agreement,
  connected,
}: ReportedShare): ShareFigures {
  const { interceptor, limits, reports } = share
  const elsewhere = queueThreads?.counts() ?? { inFlight: 0, waiting: 0 }
  return {
    connected,
    mounted: agreement !== undefined,
    inFlight: (backend?.inFlightCount ?? 0) + elsewhere.inFlight,
    onRings: (backend?.waitingCount ?? 0) + elsewhere.waiting,
    use: reports?.use(),
    faultsApplied: interceptor.faultsApplied,
    limits: limits.report(),
  }
}

/** What is to be said of the threads of a share that has one. */
function oneThread({ config, isAlone }: ReportedShare): QueueThreadsReport {
  const reason = alwaysOneThread(config, isAlone)
  return { configured: config.queueThreads, inUse: 1, oneThreadBecause: reason ?? 'no more are configured' }
}

/** The memory, in bytes, that the guest can make a share use besides inodes and handles, now and at most. */
function memoryOf({ share, trace }: ReportedShare): (MemoryReport & { readonly traces: number }) | undefined {
  if (share.reports === undefined) return undefined
  const { total, limit, ...uses } = share.reports.memory()
  const { bytes: traces, limit: most } = trace.memory
  return { ...uses, traces, total: total + traces, limit: limit + most }
}
