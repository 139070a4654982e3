import type { ShareUse } from '../passthrough/passthrough-file-system.js'
import type { LimitsReport } from './share-limits.js'

/** The present figures of a share, which its own thread reports. Counts that only grow are in its `Counters`. */
export interface ShareFigures {
  readonly connected: boolean
  readonly mounted: boolean
  /** Requests that were taken from the rings and are not answered. */
  readonly inFlight: number
  /** Requests that are on the rings and were not taken. */
  readonly onRings: number
  /** The resources that the guest makes the share hold. Undefined for a file system that a module made. */
  readonly use: ShareUse | undefined
  /** Requests that faults were applied to. */
  readonly faultsApplied: number
  readonly limits: LimitsReport
}
